"""The only callers of AWS, HTTP and files in the deployed code.

A package for each thing we talk to. An adapter makes calls, reads the answers through `parsers`, and wraps botocore's
errors once (`aws/errors.py`). It decides nothing: no rule, no policy, no retry policy of its own. Services know
adapters only as the Protocols of `services/ports`. Begin with `table/findings_table.py` (what is stored) and
`ecr/registry.py` (what is asked of ECR).
"""
