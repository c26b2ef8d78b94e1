"""The audit log: which kinds of records exist, their ids, and the hash chain that makes tampering visible.

Writing and reading records is `adapters/table`. Begin with `chain.py`.
"""
