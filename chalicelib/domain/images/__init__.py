"""The words everything else is said in: image, repository, finding, document, verdict; and texts and names from
outside.

Imports no other package of the domain. Nothing about policy or enforcement. Begin with `image.py` and `finding.py`.
"""
