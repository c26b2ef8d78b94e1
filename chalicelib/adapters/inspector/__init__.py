"""Amazon Inspector: findings, coverage and counts of one image or of a registry.

Whether an image counts as scanned is decided in `services/assessment`; rows are read by `parsers/findings`. Begin with
`inspector.py`; `EitherScanner` chooses between Inspector and ECR's own scanner.
"""
