"""A local AWS: moto's server with what Lazaretto needs of ECS, EventBridge and SQS, and the stack on it.

ECR is a package of its own, Inspector a module. Our code is not stubbed: handlers and adapters run as deployed. Begin
with `stack.py` and `server.py`.
"""
