"""Alerts about verdicts and acts, composed when they are due.

What they say is `domain/alerts`; `services/channels` hands them on. Begin with `notify.py`.
"""
