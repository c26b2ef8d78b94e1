"""Images, manifests, lifecycle and replication as ECR answers them.

Begin with `images.py`; scans are in `parsers/findings`.
"""
