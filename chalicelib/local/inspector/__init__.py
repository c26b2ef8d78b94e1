"""A local Inspector: the answers of its API about coverage, findings, filters and counts.

It scans nothing: the demo, the story and tests store its findings. Begin with `inspector.py`.
"""
