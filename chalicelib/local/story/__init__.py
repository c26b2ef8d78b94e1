"""`lazaretto story`: one image from push to release, played and checked step by step.

The command that prints it is in `cli/local`. Begin with `story.py`.
"""
