"""The events that AWS would send, as JSON, and the clock by which they are dated.

Nothing is sent here: the bus is `local/aws/event_bus.py`. Begin with `events.py`.
"""
