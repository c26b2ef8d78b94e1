"""Explains a failed pull and notifies people of it.

Begin with `explain_pull_failure.py`.
"""
