"""What use cases need from the world, as Protocols. Adapters implement them; the fakes of the tests keep the contract.

A Protocol exists where a fake stands in, nowhere else. Begin with `ports.py`.
"""
