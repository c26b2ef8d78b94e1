"""Which channel gets which alert, and that each gets it at least once.

What an alert says is `domain/alerts`; how a channel is spoken to is `adapters/channels`. Begin with `notify.py`.
"""
