"""How a registry as listed differs from what is stored, and which scans to ask for.

Listing and repairing are `services/reconcile`. Begin with `reconciliation.py` and `difference.py`.
"""
