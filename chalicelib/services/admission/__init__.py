"""Answers a cluster that asks whether images may run.

Begin with `admit_images.py`; the rules are in `domain/admission`.
"""
