"""Use cases against ports: one file each, named after its public function.

Services import the domain and `ports`, never adapters, AWS or HTTP. Reads go from the API to queries without a service.
Begin with `handlers/receive_batch.py` (messages in), `assessment/assess_image.py` (the write protocol) and
`enforcement/enforce_verdict.py` (acts).
"""
