"""What the functions call with a batch of messages: group, dispatch, report failures one by one.

A handler knows no rule; it names the use case of each kind of message. Begin with `receive_batch.py`.
"""
