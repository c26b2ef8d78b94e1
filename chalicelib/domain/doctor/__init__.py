"""What `doctor` and `deploy` know of an installation: results of checks, the stack and its parts, rights of roles.

Nothing here calls AWS; how the parts must be is said by the checks in `cli/doctor`. Begin with `health.py`.
"""
