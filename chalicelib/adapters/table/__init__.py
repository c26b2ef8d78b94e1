"""Images in DynamoDB: headers, findings documents, tags, repositories, vulnerabilities, the audit log, and their
queries.

The class docstring of `FindingsTable` is the schema in words. Conditions of writes are here; what to write is decided
in services. Begin with `findings_table.py` (writes) and `findings_queries.py` (reads).
"""
