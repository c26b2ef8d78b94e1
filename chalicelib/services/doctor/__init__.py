"""The checks of `doctor`, one file an area, and reading, redriving and dropping dead letters.

A check reports what it saw; UNKNOWN is never OK. `health.run_check` turns an error into UNKNOWN, and nothing else does.
Begin with `check_wiring.py`.
"""
