"""Chains of audit records: whose they are, how each link depends on the one before, whether a stored one is whole, and
the alert when it is not. Pure.

Only a record's stored bytes count, not what they say. A chain cannot show by itself that its tail was cut off together
with its head, or that all of it was written anew; the heads that were copied each day show it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.text import sanitize, some_of

START = bytes(32)
SHARDS = 256
_IMAGE, _SUBJECT = "IMAGE#", "SUBJECT#"

Chain = ImageRef | str
"""Whose records are bound together: an image's, or those about a subject by its name (`policy`, `waiver/<id>`)."""


class Head(msgspec.Struct, frozen=True):
    """How many records a chain has, and the last one's link."""

    count: int
    link: bytes


class Copy(msgspec.Struct, frozen=True):
    """The head a chain had when it was copied on `day`."""

    day: date
    head: Head


class StoredRecord(msgspec.Struct, frozen=True):
    """A record as it lies there: `body` is what its link is made of. `wrong`: what lies beside it and is not what it
    says (its place in the index, its actor); None: all of it is."""

    number: int
    link: bytes
    body: bytes
    wrong: str | None = None


class ChainProblem(msgspec.Struct, frozen=True, order=True):
    """`number`: the first record it is about; `what`: a sentence that names the chain."""

    number: int
    what: str


def chain_name(chain: Chain) -> str:
    """Unlike any other's: `IMAGE#<path>` or `SUBJECT#<subject>`; the table's partition has it too.
    Raises ValueError for a subject without a name."""
    if isinstance(chain, ImageRef):
        return f"{_IMAGE}{chain.path}"
    if not chain:
        raise ValueError("an audit record needs an image or a subject")
    return f"{_SUBJECT}{chain}"


def named_chain(name: str) -> Chain:
    """The inverse of `chain_name`. Raises ValueError."""
    if name.startswith(_IMAGE):
        return ImageRef.from_path(name.removeprefix(_IMAGE))
    if not name.startswith(_SUBJECT) or name == _SUBJECT:
        raise ValueError(f"not the name of an audit chain: {name[:200]!r}")
    return name.removeprefix(_SUBJECT)


def shard_of_chain(chain: Chain) -> int:
    """Which of the `SHARDS` parts of a day's copied heads has it."""
    return hashlib.sha256(chain_name(chain).encode()).digest()[0]


def next_link(previous: bytes, body: bytes) -> bytes:
    """`body`: the record's bytes as they are stored, never encoded again."""
    return hashlib.sha256(previous + body).digest()


def contradicts(copy: Head, head: Head | None) -> bool:
    """Whether a head, read after the copy was made, cannot be a later one of the same chain."""
    return head is None or head.count < copy.count or (head.count == copy.count and head.link != copy.link)


def check_chain(
    chain: Chain,
    records: Iterable[StoredRecord],
    head: Head | None,
    copies: Sequence[Copy] = (),
    later: Head | None = None,
) -> tuple[ChainProblem, ...]:
    """What is wrong with a chain, the first broken record first; empty: nothing is.

    `copies` are read first, then `head`, then the records, and then `later`, the head once more (None: as before): what
    was appended in between is neither missing nor forged.
    """
    name = str(chain)
    ordered = sorted(records, key=lambda r: r.number)
    count = head.count if head else max((r.number for r in ordered), default=0)
    beyond = max(count, later.count if later else 0)
    known = {r.number: r for r in ordered}
    problems = [
        *_without_head(name, ordered, head),
        *_out_of_number(name, ordered, beyond),
        *_missing(name, known, count, head),
        *_changed(name, ordered, known, count),
        *_ends_elsewhere(name, known, head),
        *_unlike_copies(name, known, copies, count),
    ]
    return tuple(sorted(problems))


def _without_head(name: str, ordered: Sequence[StoredRecord], head: Head | None) -> Iterator[ChainProblem]:
    if ordered and head is None:
        yield ChainProblem(0, f"the head of {name} is missing, {_records(len(ordered))} are there")


def _out_of_number(name: str, ordered: Sequence[StoredRecord], last: int) -> Iterator[ChainProblem]:
    """What was put in without the head."""
    for number, group in groupby(ordered, key=lambda r: r.number):
        times = len(list(group))
        if number < 1:
            yield ChainProblem(number, f"{_records(times)} of {name} without a number: Lazaretto did not write it")
        elif number > last:
            yield ChainProblem(
                number, f"record {number} of {name} is beyond its head, which says {last}: it was put in"
            )
        elif times > 1:
            yield ChainProblem(number, f"record {number} of {name} is there {times} times: one was put in")


def _missing(name: str, known: dict[int, StoredRecord], count: int, head: Head | None) -> Iterator[ChainProblem]:
    there = sum(1 <= n <= count for n in known)
    for first, last in _gaps(sorted(n for n in known if 1 <= n <= count), count):
        said = f"record {first} of {name} is" if first == last else f"records {first} to {last} of {name} are"
        tail = f": its head says {count}, {there} are there" if head and last == count else ""
        yield ChainProblem(first, f"{said} missing{tail}")


def _gaps(numbers: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Runs of 1..count that are not among `numbers`, which are in order."""
    expected = 1
    for number in (*numbers, count + 1):
        if number > expected:
            yield expected, number - 1
        expected = number + 1


def _changed(
    name: str, ordered: Sequence[StoredRecord], known: dict[int, StoredRecord], count: int
) -> Iterator[ChainProblem]:
    broken = 0
    for record in ordered:
        number = record.number
        if not 1 <= number <= count or (record.wrong is None and _follows(record, known)):
            continue
        said = f"record {number} of {name}"
        if record.wrong is not None:
            yield ChainProblem(number, f"{said} was changed: {record.wrong}")
        elif number == 1:
            yield ChainProblem(1, f"{said} was changed")
        elif broken == number - 1:
            yield ChainProblem(number, f"{said} does not follow record {broken}")
        else:
            yield ChainProblem(number, f"{said} was changed, or record {number - 1} together with its link")
        broken = number


def _follows(record: StoredRecord, known: dict[int, StoredRecord]) -> bool:
    """True also where the record before it is missing, which is said elsewhere."""
    before = known.get(record.number - 1)
    link = START if record.number == 1 else before.link if before is not None else None
    return link is None or record.link == next_link(link, record.body)


def _ends_elsewhere(name: str, known: dict[int, StoredRecord], head: Head | None) -> Iterator[ChainProblem]:
    if head is not None and head.count in known and known[head.count].link != head.link:
        yield ChainProblem(head.count, f"record {head.count} of {name} is not the one its head was made of")


def _unlike_copies(
    name: str, known: dict[int, StoredRecord], copies: Sequence[Copy], count: int
) -> Iterator[ChainProblem]:
    """The first copy that the chain does not bear out says between which records it was written anew."""
    good = 0
    for copy in sorted(copies, key=lambda c: (c.head.count, c.day)):
        copied, record = copy.head.count, known.get(copy.head.count)
        if copied > count:
            what = f"{name} ends with record {count}, and had {copied} when its head was copied on {copy.day}"
            yield ChainProblem(count + 1, what)
            return
        if record is not None and record.link != copy.head.link:
            what = f"record {copied} of {name} is not the one whose link was copied on {copy.day}"
            since = f"; something from record {good + 1} on was written anew" if copied > good + 1 else ""
            yield ChainProblem(good + 1, what + since)
            return
        good = copied if record is not None else good


def _records(number: int) -> str:
    return f"{number} record" if number == 1 else f"{number} records"


TAMPERING = "tampering"
NAMED = 10


def compose_audit_alert(broken: Mapping[Chain, tuple[Head, Head | None]], day: date, now: datetime) -> Alert:
    """`broken`: of each chain the head that was copied on `day`, and the one it has now (None: none)."""
    lines = [_line(chain, *heads) for chain, heads in broken.items()]
    which = "one chain is" if len(broken) == 1 else f"{len(broken)} chains are"
    return Alert(
        event=TAMPERING,
        title=f"Audit log changed: {which} not what was copied",
        at=now,
        notes=some_of(lines, NAMED),
        what_to_do=(
            f"See which record is broken first: lazaretto audit verify --since {day}",
            "Find who may write to the table besides Lazaretto's functions, and restore it to a point in time.",
        ),
    )


def _line(chain: Chain, copied: Head, head: Head | None) -> str:
    had = f"{sanitize(str(chain), 300)} had {_records(copied.count)} when its head was copied"
    if head is None:
        return f"{had}, and has no head now."
    if head.count < copied.count:
        return f"{had}, and has {head.count} now."
    return f"{had}; the last of them is another one now."
