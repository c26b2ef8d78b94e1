"""Small items of the table beside images: policy, waivers, what-if jobs, and what sweeps keep.

Headers, documents, tags and the audit log are in `table`. Begin with `rule_store.py`.
"""
