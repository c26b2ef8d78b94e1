"""AWS JSON becomes domain values. Bad input raises RefusedPayloadError with the path of the field.

No AWS call, no rule, no default for what is missing: absent stays absent. Begin with `events/events.py` (EventBridge)
and `findings/rows.py` (Inspector).
"""
