"""What people are told about a verdict: the alert itself, its sentences, its findings.

How an alert is delivered is `services/alerts` and `adapters/channels`. Begin with `alert.py`.
"""
