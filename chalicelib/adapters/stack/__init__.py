"""The deployed stack and the account around it, as `deploy`, `doctor` and `dlq` read and change it.

Nothing that a function of the bundle imports. What a check means is `services/doctor`. Begin with
`cloudformation.py` (which stack is meant, and its change sets).
"""
