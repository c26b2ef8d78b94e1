"""Commands that need no deployment: `lazaretto run`, `replay`, `story` and `parse`.

What they play is in `local/`, which is imported only when such a command runs. Begin with `run.py`.
"""
