"""The local stack: AWS on one machine, the demo, the story. Never in the bundle, never imported by the application.

What moto lacks or does wrong is added here and nowhere else. `events.py` composes the events that AWS sends,
`inspector.py` answers for Inspector. Begin with `aws/stack.py`.
"""
