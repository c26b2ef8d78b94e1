"""The in-cluster server that signs admission reviews with its pod's role, and the objects that install it.

`forwarder.py` is copied into a ConfigMap and imports nothing of ours; `objects.yaml` has the Kubernetes objects. Begin
with `forwarder.py`.
"""
