"""The checks of `doctor`, one file an area, and reading, redriving and dropping dead letters.

A check reports what it saw; UNKNOWN is never OK. Begin with `run_check.py` and `check_work.py`.
"""
