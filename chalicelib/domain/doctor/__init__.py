"""What `doctor` reports: checks and their results, the deployed stack as it should be, rights a deployment needs.

Nothing here looks anything up. Begin with `health.py`.
"""
