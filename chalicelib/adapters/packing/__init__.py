"""The packed findings document: columns, compression, format version.

No I/O and no rules: bytes in, a `FindingsDocument` out, and back. A reader knows every former format. Begin with
`packing.py`.
"""
