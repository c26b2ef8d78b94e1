"""What a legal hold keeps, in a plan: one image with the indexes that hold it, or all of a repository."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from chalicelib.domain.retention.legal_hold import LEGAL_HOLD, LegalHold, held
from chalicelib.domain.retention.retention import judge
from tests.fakes.registries import HOME, NOW, digest, retained, retention

IMAGES = [
    retained(1, days=90),
    retained(2, "v1", days=90, contains=(digest(1),)),
    retained(3, "v2", days=90),
    retained(4, "v3", days=1),
]
RULES = [retention(keep={"newest": 1}, max_share=1.0)]
HOLD = LegalHold(HOME, digest(1), "counsel", "the claim of 2026", NOW)


def kept(*holds: LegalHold) -> dict[str, str]:
    judged = judge(HOME, [held(image, holds) for image in IMAGES], RULES, NOW)
    return {decision.image.digest: decision.by for decision in judged.decisions if not decision.taken}


def test_an_image_under_legal_hold_stays_with_the_index_that_holds_it() -> None:
    assert set(kept()) == {digest(4)}
    assert kept(HOLD) == {digest(4): "retention[0].keep.newest", digest(1): LEGAL_HOLD, digest(2): LEGAL_HOLD}


def test_a_repository_under_legal_hold_loses_nothing() -> None:
    assert set(kept(msgspec.structs.replace(HOLD, digest=None)).values()) == {LEGAL_HOLD}


def test_a_hold_that_was_ended_keeps_nothing() -> None:
    ended = msgspec.structs.replace(HOLD, ended_at=NOW - timedelta(days=1))
    assert set(kept(ended)) == {digest(4)}


def test_a_plan_says_whose_hold_it_is_and_why() -> None:
    (image,) = (held(image, [HOLD]) for image in IMAGES[:1])
    assert image.guard is not None
    assert image.guard.why == "legal hold on the image by counsel: the claim of 2026"
