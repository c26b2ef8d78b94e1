"""From an observation of an image to its new header: merge of findings, conclusion, summary.

The verdict is decided in `policy`; what is done about it in `enforcement`. Begin with `merge.py` and `conclusion.py`.
"""
