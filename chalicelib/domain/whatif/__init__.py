"""What a policy would have decided: questions, past states, the report.

Walking images is `services/policy`. Begin with `what_if.py`.
"""
