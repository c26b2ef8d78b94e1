"""How AWS JSON is decoded: base structs, times, identities, the envelope of events, errors with paths.

No answer of one service is known here. Begin with `wire.py`.
"""
