"""Looks up what runs an image and what an act on it would hit.

Begin with `find_blast_radius.py`.
"""
