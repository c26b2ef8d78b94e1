"""What answers look like: the structs of the JSON bodies and how domain values become them.

Field names are a public contract. Parameters and errors are in `framework`. Begin with `answers.py`; `walk.py` reads
images worst first for lists over the whole registry.
"""
