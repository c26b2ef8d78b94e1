"""A local Inspector: coverage, findings, filters and counts, as its API answers them.

It scans nothing: the demo, the story and tests give it findings. Begin with `inspector.py`.
"""
