"""Amazon ECR, private and public: listings, manifests, scans, lifecycle, replication, and the acts on an image.

Nothing here decides what is listed, deleted or archived. Only `keeper.py` deletes images. Begin with
`registry.py` (one image, and the acts on it).
"""
