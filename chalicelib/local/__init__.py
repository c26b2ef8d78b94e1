"""The local stack: AWS on one machine, the demo, the story. Never in the bundle and never imported by the application.

Whatever moto lacks or does wrong is added here and nowhere else. Begin with `aws/stack.py`.
"""
