"""What a change or the end of a waiver means for images, and the notices about it.

The waiver itself is `policy/waiver.py`. Begin with `change.py`.
"""
