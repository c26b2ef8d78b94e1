"""Copies checkpoints of the audit log and verifies its chains.

Begin with `verify_audit.py`; the chain itself is `domain/audit`.
"""
