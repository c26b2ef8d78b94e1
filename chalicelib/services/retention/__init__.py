"""Plans and carries out retention, and compares with native lifecycle policies.

A failed look-up keeps the image. Begin with `plan_retention.py`.
"""
