"""A local ECR, private and public: moto's, extended by layers, archive, scans, lifecycle, replication and pull times.

What moto lacks of other services is in `local/aws` and `local/inspector`; nothing of the application is here. Begin
with `ecr.py` (the registry) and `answers.py` (its API).
"""
