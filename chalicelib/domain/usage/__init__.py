"""Who could pull an image, and what an act on it would hit.

Looking up workloads is `adapters/usage`. Begin with `blast_radius.py`.
"""
