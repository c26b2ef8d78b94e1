"""Whether what runs could be run from another Region.

How copies stand is `domain/replication`; gathering what is known of them is `services/recovery`. Begin with
`readiness.py`.
"""
