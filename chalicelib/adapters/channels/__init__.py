"""How an alert reaches people: Slack, Amazon SNS, and the secrets they need.

What an alert says is composed in `domain/alerts`; whether and when it is sent is `services/alerts`. Begin with
`slack.py`.
"""
