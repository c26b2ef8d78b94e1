"""What the routes about acts take and answer. How it is made is `enforcement.py`'s business."""

from __future__ import annotations

import msgspec

from chalicelib.api.answers.image_answers import ActAnswer, HoldAnswer, ImageName, Moment, OrderAnswer
from chalicelib.domain.images.image import InUseState
from chalicelib.domain.images.verdict import Decision


class OrderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which image, and why. `registry` and `region` are needed where the repository's name alone does not tell."""

    repository: str
    reason: str
    registry: str | None = None
    region: str | None = None
    digest: str | None = None
    tag: str | None = None
    dry_run: bool = False


class UndoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`action_id` as the audit log shows it."""

    action_id: str
    reason: str
    dry_run: bool = False


class ResetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    reason: str


class NewerAnswer(msgspec.Struct, frozen=True):
    tag: str
    digest: str
    decision: Decision


class RadiusAnswer(msgspec.Struct, frozen=True):
    """What hangs on the image. `blind` and `unknown`: what could not be looked up; then nothing runs is not known."""

    in_use: InUseState
    running: tuple[str, ...]
    blind: tuple[str, ...]
    last_pulled_at: Moment | None
    tags: tuple[str, ...]
    indexes: tuple[str, ...]
    newer: NewerAnswer | None
    unknown: tuple[str, ...]


class GivenAnswer(msgspec.Struct, frozen=True):
    """What follows from an order. `act` null: nothing is to be done, the image is so already. `lines`: in sentences."""

    image: ImageName
    decision: Decision
    order: OrderAnswer | None
    act: ActAnswer | None
    hold: HoldAnswer | None
    denied: bool
    radius: RadiusAnswer
    lines: tuple[str, ...]
    dry_run: bool


class UndoneAnswer(msgspec.Struct, frozen=True):
    """`given`: what follows for the image; null where the action was about a waiver or the policy. `lines`: in
    sentences, whatever it was about."""

    action_id: str
    kind: str
    subject: str | None
    given: GivenAnswer | None
    lines: tuple[str, ...]
    dry_run: bool


class FuseAnswer(msgspec.Struct, frozen=True):
    """`taken` of `limit` images were blocked or quarantined within the last hour. `blown_at` null: it is whole."""

    limit: int
    taken: int
    blown_at: Moment | None
    whole_at: Moment | None
    waiting: int
    reset_at: Moment | None
    reset_by: str | None
