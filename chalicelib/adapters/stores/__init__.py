"""Small items of the table beside images: policy, waivers, what-if jobs, copies, scan requests, settings.

Headers, documents, tags and the audit log are in `table`. Begin with `policy_store.py`.
"""
