"""What comes in: AWS events as values, our own messages, dead letters, and what became of each.

Reading JSON is `parsers/events`. Wire tags and field names are a contract with messages in flight. Begin with
`event.py` and `message.py`.
"""
