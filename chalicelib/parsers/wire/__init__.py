"""How AWS JSON is decoded: base structs, dates, identities, errors with paths.

No message or answer of one service is known here. Begin with `wire.py`.
"""
