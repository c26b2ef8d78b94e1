"""A local ECR, private and public: moto's with archive, scans, lifecycle, replication, templates, a
pull-through cache and pull times.

Other services are in `local/aws` and `local/inspector.py`; nothing of the application is here. Begin with `ecr.py` (the
registry) and `answers.py` (its API).
"""
