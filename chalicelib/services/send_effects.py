"""Send what follows from a header that was put: its effects, and the indexes and images that hang on it."""

from __future__ import annotations

from chalicelib.domain.header import Header
from chalicelib.domain.image import Kind
from chalicelib.domain.message import Act, Decide
from chalicelib.services.ports import House


def send_effects(before: Header, put: Header, house: House, *, again: bool, quiet: bool = False) -> None:
    """`again`: whoever came before us may have died between putting and sending, so everything is sent."""
    for effect in put.todo:
        if again or effect not in before.todo:
            house.outbox.send("actions", Act(put.ref, effect.key))
    if again or put.decision is not before.decision or put.exists is not before.exists or put.kind is not before.kind:
        for parent in put.parents:
            house.outbox.send("scans", Decide(put.ref.home.image(parent), "child", quiet=quiet))
    if put.kind is Kind.INDEX and before.version and (again or put.tags != before.tags):
        for child in put.children:
            if not child.artifact:
                house.outbox.send("scans", Decide(put.ref.home.image(child.digest), "tag", quiet=quiet))
