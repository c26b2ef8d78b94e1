"""Prove one audit chain: its records, its head, and the heads that were copied of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.domain.audit.chain import Chain, Copy, Problem, check_chain
from chalicelib.services.ports.ports import Audit


class Proven(msgspec.Struct, frozen=True):
    """`records`: how many were read. Without `problems` the chain is whole."""

    records: int
    problems: tuple[Problem, ...]


def verify_chain(chain: Chain, audit: Audit, copies: Sequence[Copy]) -> Proven:
    """`copies` were read before. It is the chain's records alone that are held in memory.

    A transaction shows its two items one after the other to a Query: what is wrong is believed when it is twice so.
    """
    proven = _read(chain, audit, copies)
    return _read(chain, audit, copies) if proven.problems else proven


def _read(chain: Chain, audit: Audit, copies: Sequence[Copy]) -> Proven:
    head = audit.heads([chain]).get(chain)
    records = list(audit.stored(chain))
    later = audit.heads([chain]).get(chain)
    return Proven(len(records), check_chain(chain, records, head, copies, later))
