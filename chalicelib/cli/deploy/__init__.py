"""`lazaretto deploy` and `destroy`: change sets, parameters, progress, spokes.

The templates are `.chalice/resources.json` and `spoke.json`; `build` packages the hub's. Begin with `deploy.py`.
"""
