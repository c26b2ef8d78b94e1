"""How every AWS call is made: sessions, roles in other accounts, rate limits, errors, queues.

No service of AWS is known here but STS and SQS; calls of one service live in the package named after it. Begin with
`sessions.py` (clients) and `calls.py` (which failure becomes which of our errors).
"""
