"""Copies of images in other Regions and accounts: rules, what is expected where, what is missing.

Reading destinations is `services/replication`. Begin with `rules.py` and `replica_case.py`.
"""
