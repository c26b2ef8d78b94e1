"""What `doctor` reports: checks and their results, the parts of an installation, and the stack that holds them.

Nothing here calls AWS. Begin with `health.py`.
"""
