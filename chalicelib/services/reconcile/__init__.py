"""Lists a registry, compares it with what is stored, repairs differences and asks for scans.

A listing that fails proves nothing and repairs nothing. Begin with `reconcile_registry.py`.
"""
