"""Hands alerts to channels: one message each, and each channel hears at least once.

What an alert says is `domain/alerts`; how a channel is spoken to is `adapters/channels`. Begin with `announce.py`.
"""
