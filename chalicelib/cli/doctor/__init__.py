"""`lazaretto doctor`: which checks run, with which adapters, and how their results are shown.

What a check says is in `services/doctor`. Begin with `doctor_round.py`.
"""
