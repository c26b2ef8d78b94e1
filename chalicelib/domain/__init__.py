"""The rules of Lazaretto without I/O: no clock, no environment, no AWS. `now` is always an argument.

A package for each capability; `images` is the base and imports no other. Imports make no cycle, neither between modules
nor between packages. Begin with `images/image.py` (words), `policy/decision.py` (findings and policy become a verdict)
and `enforcement/enforcement.py` (what follows from it).
"""
