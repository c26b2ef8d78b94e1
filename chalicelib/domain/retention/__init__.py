"""Which images a repository keeps: rules, plan, cost, and their translation to ECR lifecycle policies.

Deleting is `services/retention`; a plan never acts. Begin with `retention.py`.
"""
