"""Carries out what a verdict or a person asks for: preconditions, quota, the act, reading back, the record.

What is desired is computed in `domain/enforcement`; only `perform_act.py` changes a registry. Begin with
`enforce_verdict.py`.
"""
