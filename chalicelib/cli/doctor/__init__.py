"""`lazaretto doctor`: which checks run, with which adapters, and how their results are shown.

The checks are in `services/doctor`. Begin with `doctor_round.py`.
"""
