"""Build tools: bundle, seal, release, bill of materials. `make package` and `make release` run them.

Never in the bundle, never imported by the application. Begin with `package.py`.
"""
