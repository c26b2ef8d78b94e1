"""The header of an image: what is asked often about it, what is still to be done, and its image line.

No rule changes a header here; `assessment` and `enforcement` do. Begin with `header.py`.
"""
