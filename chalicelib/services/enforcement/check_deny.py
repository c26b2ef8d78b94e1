"""Check that an image's repository still denies pulls because of it, and say so in its header where it does not.

Somebody may have deleted or replaced the repository's policy, or the repository itself. Nothing is put here: the header
no longer says `denied`, and what then is wanted follows as an act like any other, with all that may hold one.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.events.message import Delivery
from chalicelib.domain.headers.effect import EffectKind
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import TransientError
from chalicelib.services.assessment.update_header import update_header
from chalicelib.services.enforcement.read_state import read_state
from chalicelib.services.ports.ports import House


def check_deny(ref: ImageRef, delivery: Delivery, house: House) -> None:
    """Where our statement stands nothing is done: so our own writes of the policy, of which we hear too, lead nowhere.

    The digest is struck off before the header is put: cut off in between, the next call goes on, also where the
    statement was put for other images meanwhile: it would leave with those. An act that is taking it out reads the
    policy in its end. Raises TransientError also while a worker is putting the statement, which counts the digest
    before and says `denied` after: check again later. Raises DeniedError, UpstreamError: nothing is known, and nothing
    was changed.
    """
    stored = house.table.read_headers([ref]).get(ref)
    if stored is None or stored.header.begun is EffectKind.UNBLOCK:
        return
    if stored.header.begun is EffectKind.BLOCK:
        raise TransientError(f"pulls of {ref} are being denied by another worker")
    if read_state(stored.header, EffectKind.BLOCK, house).denies and _counts(stored.header, house):
        return
    house.table.change_denied(ref.home, lambda denied: denied.without_digest(ref.digest))
    update_header(ref, _not_denied, delivery, house)


def _counts(header: Header, house: House) -> bool:
    """Whether the statement is its own as well, where the header says that it is denied."""
    return not header.denied or header.ref.digest in house.table.read_denied(header.ref.home).digests


def _not_denied(header: Header) -> Header:
    return msgspec.structs.replace(header, denied=False)
