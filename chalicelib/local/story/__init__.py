"""`lazaretto story`: one image from push to release, told step by step and checked.

Begin with `story.py`.
"""
