"""Know the tags of an image before they are taken away: a push of one may not have been heard of yet.

Once the image is moved or untagged the registry no longer tells whose such a tag was. An image that had it before, and
is released before the event comes, would get it back.
"""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.enforcement.enforcement import marker
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.headers.header import Header
from chalicelib.services.assessment.claim_tag import claim_tag
from chalicelib.services.assessment.settle_tag import settle_tag
from chalicelib.services.enforcement.read_state import RegistryState
from chalicelib.services.ports.ports import House


def claim_unheard(header: Header, state: RegistryState, house: House) -> None:
    """As if the push had been heard of when `state` was read, but for the image's own header: the act puts that.
    Harmless when done again."""
    ref, there = header.ref, state.detail.tags if state.detail else ()
    # Events tell whole seconds, and one claim a second is kept: our own removal, or a push since, is to come later.
    at = state.at.replace(microsecond=0) - timedelta(microseconds=1)
    for tag in sorted({*there} - {*header.tags, marker(ref.digest)}):
        move = claim_tag(ref, tag, at, house)
        if move.digest == ref.digest and move.former not in (None, ref.digest):
            former = ref.home.image(move.former)
            settle_tag(former, tag, Delivery(f"{ref.path}:{tag}", Decide(former, "tag-moved")), house)
