"""Lazaretto: the quarantine station for container images in Amazon ECR."""

__version__ = "0.1.0"
