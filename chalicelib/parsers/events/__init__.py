"""Events and queue messages: which kind it is, and its value in `domain/events`.

Findings inside an event are read by `parsers/findings`. Begin with `events.py` (a queue's record, an
EventBridge event).
"""
