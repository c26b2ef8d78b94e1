"""Checks copies of images, records what is missing, mirrors quarantine.

Only the destination proves that a copy is there. Begin with `check_replication.py`.
"""
