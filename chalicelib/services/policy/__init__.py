"""Applying a policy, rolling it out over all images, and what-if jobs.

Deciding one image is `domain/policy`. Begin with `apply_policy.py` and `roll_out_policy.py`.
"""
