"""The in-cluster server that signs admission reviews with its pod's role, and the objects that install it.

`forwarder.py` is copied into a ConfigMap and imports nothing of ours; the YAML files have the Kubernetes objects. Begin
with `forwarder.py`.
"""
