"""Send what follows from a header that was put: its effects, and the indexes and images that hang on it."""

from __future__ import annotations

from chalicelib.domain.events.message import Act, Decide
from chalicelib.domain.events.metric import Metric
from chalicelib.domain.headers.effect import Effect, Holding
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.ports.ports import House


def send_effects(before: Header, put: Header, house: House, *, again: bool, quiet: bool = False) -> None:
    """`again`: whoever came before us may have died between putting and sending, so everything is sent.

    An act that waits is the clock's to send, and so is an alert that is left to a summary; an act that is begun is in a
    worker's hands; one that is only observed is sent once, to be recorded. Indexes hear of a child that blocks or is
    quarantined when it gets worse or less bad, of any other when its decision changes: not of every finding. The same
    digest in public repositories hears of every verdict: what is excused here may not be there."""
    _tell_verdict(before, put, house)
    for effect in put.todo:
        if effect.left_to_summary:
            continue
        if again or (effect not in before.todo and _is_to_be_sent(put, effect)):
            house.outbox.send("actions", Act(put.ref, effect.key))
    turned = again or put.exists is not before.exists or put.kind is not before.kind
    if turned or put.standing != before.standing:
        for parent in put.parents:
            house.outbox.send("scans", Decide(put.ref.home.image(parent), "child", quiet=quiet))
    if not put.ref.home.public and (turned or put.verdict != before.verdict):
        for twin in put.twins:
            house.outbox.send("scans", Decide(ImageRef.from_path(twin), "twin", quiet=quiet))
    if put.kind is Kind.INDEX and before.version and (again or _needs(put) != _needs(before)):
        for child in put.children:
            if not child.artifact:
                house.outbox.send("scans", Decide(put.ref.home.image(child.digest), "tag", quiet=quiet))


def _tell_verdict(before: Header, put: Header, house: House) -> None:
    if put.verdict is None:
        return
    house.journal.decided(put.ref, put.verdict.number)
    if before.verdict is None or before.verdict.number != put.verdict.number:
        house.journal.count(Metric.VERDICTS, by=put.verdict.decision)


def _is_to_be_sent(header: Header, effect: Effect) -> bool:
    if effect.kind.acts and header.begun is not None:
        return False
    return effect.held is None or effect.held.why is Holding.OBSERVE


def _needs(index: Header) -> tuple[object, ...]:
    """What of an index its images are decided by: its tags, and whether it can, and is to be pulled."""
    archived = index.storage is StorageStatus.ARCHIVED
    return index.named, index.exists, archived, index.decision is Decision.QUARANTINE, index.order
