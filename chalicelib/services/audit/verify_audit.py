"""Prove the audit chains of a range of days: each chain that had a record then, from its first record to its last, with
its head and the copied heads.

A chain is found through the heads copied on those days, or through the index of the days: hiding one takes a change of
both; a root that was kept elsewhere shows that too. One chain's records and a 256th part of the copies are held at a
time, beside 16 bytes a chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import date

import msgspec

from chalicelib.domain.audit.chain import SHARDS, Chain, ChainProblem, Copy, chain_name, check_chain
from chalicelib.domain.audit.root import DayRoot, first_unlike, next_roots
from chalicelib.services.ports.table import Audit


class Proven(msgspec.Struct, frozen=True):
    """`records`: how many were read. Without `problems` the chain is whole."""

    records: int
    problems: tuple[ChainProblem, ...]


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


SHOWN = 100


class Proof(msgspec.Struct, frozen=True):
    """`broken` of `chains` have problems; the first hundred of them are named, a chain's first broken record first."""

    chains: int
    records: int
    broken: int
    problems: tuple[tuple[Chain, ChainProblem], ...]


def verify_audit(audit: Audit, days: Sequence[date], progress: Callable[[int, int], None] | None = None) -> Proof:
    """`progress` is given what is done and of how much: parts of the copies, then days."""
    total, seen = SHARDS + len(days), set[bytes]()
    chains = records = broken = 0
    problems: list[tuple[Chain, ChainProblem]] = []
    for done, some in enumerate(_parts(audit, days), 1):
        for chain, copies in some:
            if (mark := _mark(chain)) in seen:
                continue
            seen.add(mark)
            proven = verify_chain(chain, audit, copies)
            chains, records, broken = chains + 1, records + proven.records, broken + bool(proven.problems)
            problems += [(chain, p) for p in proven.problems[: SHOWN - len(problems)]]
        if progress is not None:
            progress(done, total)
    return Proof(chains, records, broken, tuple(problems))


class RootProof(msgspec.Struct, frozen=True):
    """`days`: those with copies, the last first; those that the root was made of, where there is no `problem`."""

    days: tuple[date, ...]
    problem: str | None = None


def verify_root(audit: Audit, root: bytes, today: date) -> RootProof:
    """Make the root anew from the copies. What is stored of roots serves only to name the day that was changed."""
    made: list[DayRoot] = []
    for one in next_roots(DayRoot(), audit.copies_between(None, today)):
        made.append(one)
        if one.root == root:
            return RootProof(_days(made))
    stored = list(audit.roots(today))
    changed = first_unlike(made, stored)
    if changed is not None:
        problem = f"the copied heads of {changed} are not those that the root of that day was made of"
    elif any(one.root == root for one in stored):
        problem = "the copied heads of that day are gone"
    else:
        problem = "no day has this root: it is not one of this log, or copied heads and roots were changed"
    return RootProof(_days(made), problem)


def _days(made: Sequence[DayRoot]) -> tuple[date, ...]:
    return tuple(one.day for one in reversed(made) if one.day is not None)


def _parts(audit: Audit, days: Sequence[date]) -> Iterator[Iterator[tuple[Chain, Sequence[Copy]]]]:
    """A chain that is not among the copies of any day is found through the index: its first copy is still to be
    made."""
    for shard in range(SHARDS):
        yield iter(audit.copies_of_shard(shard, days).items())
    for day in days:
        yield ((chain, ()) for chain in audit.chains_of_day(day))


def _mark(chain: Chain) -> bytes:
    return hashlib.sha256(chain_name(chain).encode()).digest()[:16]
