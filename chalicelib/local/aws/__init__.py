"""A local AWS: moto extended by what Lazaretto needs of ECR, Inspector, ECS, EventBridge and SQS.

No code of ours is stubbed: handlers and adapters run as deployed. Begin with `stack.py` and `server.py`.
"""
