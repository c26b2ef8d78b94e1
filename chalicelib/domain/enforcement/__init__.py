"""What is done because of a verdict: desired state, the next act, the fuse, statements of repository policies, and the
words for it.

The acts themselves are `services/enforcement`. Begin with `enforcement.py`.
"""
