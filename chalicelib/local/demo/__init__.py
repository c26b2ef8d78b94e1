"""`lazaretto run`: the demo registry, payloads played from a folder, the summary.

The story is in `local/story`. Begin with `run_stack.py`.
"""
