"""What a Kubernetes cluster is answered when it asks whether a pod may start.

Reading a verdict is the service's; here an object of the cluster becomes images, and verdicts become one answer. Begin
with `judgement.py`.
"""
