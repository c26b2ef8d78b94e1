"""A local AWS: moto's server extended by what Lazaretto needs of ECS, EventBridge and SQS, and the stack on it.

ECR and Inspector are packages of their own. No code of ours is stubbed: handlers and adapters run as deployed. Begin
with `stack.py` and `server.py`.
"""
