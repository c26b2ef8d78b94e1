"""The deployed stack and the account around it, as `deploy`, `doctor` and `dlq` read and change it.

No function of the bundle imports it. The checks are in `services/doctor`. Begin with `cloudformation.py` (stacks) and
`parts.py` (their parts, and the decorator by which all of them are read).
"""
