"""The REST API: one file a group of routes.

A route reads its parameters, asks a query or a service, and answers. No rule is decided here. Begin with `routes.py`
(all routes), then `findings.py`; `framework` has parameters, errors and paging, `answers` the JSON shapes.
"""
