"""The write protocol: from a message about an image to its stored document, header and verdict.

The order of steps is `assess_image.py`; nothing else writes a document, and nothing but `write_header.py` a whole
header. Acts on the registry are `enforcement`. Begin with `assess_image.py`.
"""
