"""What commands share: the REST client, the operator's AWS clients, options, output.

No command lives here. Begin with `client.py` and `output.py`.
"""
