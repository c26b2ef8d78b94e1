"""DynamoDB itself: the schema of the one table, calls with their errors, and small structs as bytes.

What a header, a document or a policy is belongs to `table` and `stores`. Begin with `schema.py`: keys, attributes,
indexes, and the access pattern each serves.
"""
