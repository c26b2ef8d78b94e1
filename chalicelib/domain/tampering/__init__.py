"""What others change in a registry that Lazaretto relies on: which calls those are, and what people read of them.

What is looked up for it is `services/tampering`. Begin with `tampering.py`.
"""
