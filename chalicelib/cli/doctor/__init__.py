"""`lazaretto doctor`: the checks, one file an area, what they ask of AWS, and how their results are shown.

A check reports what it saw; UNKNOWN is never OK. `CheckKind.run` turns an error into UNKNOWN, and nothing else does.
Only reads happen here, but for the options that send or register. Begin with `checks.py`, the table of all checks.
"""
