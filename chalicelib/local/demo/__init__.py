"""`lazaretto run`: the demo registry, payloads played from a folder, the summary.

Begin with `run_stack.py`; the story is in `local/story`.
"""
