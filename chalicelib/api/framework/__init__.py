"""What all routes share: parameters, cursors, problem+json errors, caller.

Nothing about findings or images beyond how a request names them. Begin with `endpoint.py` (how a route is declared) and
`query.py` (how a parameter is read).
"""
