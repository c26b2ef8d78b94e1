"""What the API answers about the audit log, as types, and how records become them. Nothing is read here.

Absent is null, never 0 and never "no". All times are UTC, ISO 8601 with `Z`.
"""

from __future__ import annotations

import msgspec

from chalicelib.api.answers.image_answers import Moment
from chalicelib.domain.audit.action_id import action_id
from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.audit.verify_chain import Proven
from chalicelib.services.ports.ports import AuditRow


class RecordedImage(msgspec.Struct, frozen=True):
    """An image by digest: the tags it had are not kept. `uri` as docker would pull it."""

    registry: str
    region: str
    repository: str
    digest: str
    uri: str


class RecordAnswer(msgspec.Struct, frozen=True):
    """One record: about an image, or (`image` null) about a `subject`. `action_id` names it for undo.

    `number` counts the records of its image or subject; `link` is the SHA-256, in hex, that binds it to the one before.
    `vulnerability_ids`: the findings that mattered. `undo`: the command that undoes it, null where there is none.
    """

    action_id: str
    image: RecordedImage | None
    subject: str | None
    number: int
    kind: str
    effect: str
    actor: str
    reason: str
    at: Moment
    wanted_at: Moment
    before: str | None
    after: str | None
    policy_version: int
    vulnerability_ids: tuple[str, ...]
    undo: str | None
    link: str


class AuditList(msgspec.Struct, frozen=True):
    records: tuple[RecordAnswer, ...]
    next_cursor: str | None


class BrokenAnswer(msgspec.Struct, frozen=True):
    """`number`: the first record it is about; 0 where it is the head. `problem` is a sentence."""

    number: int
    problem: str


class ProofAnswer(msgspec.Struct, frozen=True):
    """`whole`: every record is as it was put, none is missing. `problems`: the first broken record first.

    `copies`: on how many days the chain's head was copied, and compared now; without any, a tail that was cut off
    together with its head would not show.
    """

    image: RecordedImage | None
    subject: str | None
    whole: bool
    records: int
    copies: int
    problems: tuple[BrokenAnswer, ...]


def answer_record(row: AuditRow) -> RecordAnswer:
    record = row.record
    return RecordAnswer(
        action_id=action_id(record),
        image=_image(record.chain),
        subject=_subject(record.chain),
        number=row.number,
        kind=record.kind,
        effect=record.effect,
        actor=record.actor,
        reason=record.reason,
        at=record.at,
        wanted_at=record.wanted_at,
        before=record.before,
        after=record.after,
        policy_version=record.policy_version,
        vulnerability_ids=record.vulnerability_ids,
        undo=record.undo,
        link=row.link.hex(),
    )


def answer_proof(chain: Chain, proven: Proven, copies: int) -> ProofAnswer:
    problems = tuple(BrokenAnswer(p.number, p.what) for p in proven.problems)
    return ProofAnswer(_image(chain), _subject(chain), not problems, proven.records, copies, problems)


def _image(chain: Chain) -> RecordedImage | None:
    if not isinstance(chain, ImageRef):
        return None
    return RecordedImage(chain.registry, chain.region, chain.repository, chain.digest, str(chain))


def _subject(chain: Chain) -> str | None:
    return None if isinstance(chain, ImageRef) else chain
