"""What ECS, EKS, Lambda, EventBridge and IAM answer about workloads.

Begin with `use_answers.py`.
"""
