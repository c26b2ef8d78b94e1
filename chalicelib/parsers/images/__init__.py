"""Images, manifests, and settings of registries as ECR answers them.

Begin with `images.py`; scans are in `parsers/findings`.
"""
