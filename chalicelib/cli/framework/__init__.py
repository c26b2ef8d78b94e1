"""What commands share: options, tables and JSON, the REST client, the operator's AWS clients.

No command lives here. Begin with `client.py` and `output.py`.
"""
