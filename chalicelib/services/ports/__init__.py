"""What use cases need from the world, as Protocols. Adapters implement them; the fakes of the tests keep the contract.

A Protocol exists where a fake stands in, nowhere else; `answers.py` reads what they answer. Every method may raise
TransientError (try again later) and DeniedError, those of the sweeps UpstreamError as well; what else a method raises
is said with it. Begin with `context.py`: a use case takes a `Context`, whose parts are the Protocols there, in
`table.py` and in `registry.py`.
"""
