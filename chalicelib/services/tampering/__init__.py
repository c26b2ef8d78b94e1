"""Tells people of calls of others that CloudTrail recorded. Begin with `notify_tampering.py`.

Nothing is put right here: whether a Deny stands is for `enforcement/check_deny.py`.
"""
