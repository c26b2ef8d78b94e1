"""The audit log: its records and their kinds, and the hash chain that makes tampering visible.

Writing and reading records is `adapters/table`. Begin with `chain.py`.
"""
