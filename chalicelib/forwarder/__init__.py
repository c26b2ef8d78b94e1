"""The in-cluster server that signs admission reviews with its pod role, and the objects that install it.

`forwarder.py` is one file of its own: it is copied into a ConfigMap and may import nothing of ours. Begin with
`forwarder.py`.
"""
