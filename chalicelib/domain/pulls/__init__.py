"""Why a pull failed, explained: evidence, explanation, advice, the alert.

Failed pulls as they come in are `events/failed_pull.py`. Begin with `explanation.py`.
"""
