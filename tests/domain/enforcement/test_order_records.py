"""Who changed what since an image had an ETag."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.enforcement.order_records import archived_by_retention, changes_since
from chalicelib.domain.headers.pending_action import Enforcement, Order, Stage
from chalicelib.domain.images.image import Scan, ScanState, StorageStatus
from chalicelib.domain.images.verdict import Decision
from tests.domain.enforcement.test_enforcement import BLOCK, NOW, QUARANTINE, REF, RELEASE, image, verdict

LATER = NOW + timedelta(minutes=5)
SEEN = image(Decision.WARN)
DONE = Enforcement(QUARANTINE, 2, Stage.DONE, LATER, "archive")
ORDERED = Order(QUARANTINE, "ann", "a leaked key", LATER)


def record(effect: str, actor: str = "rule:shut", reason: str = "because") -> ActionRecord:
    return ActionRecord(REF, effect, LATER, effect.partition("#")[0], actor, reason, LATER)


@pytest.mark.parametrize(
    ("changes", "records", "words"),
    [
        ({"order": ORDERED}, [], "person:ann ordered its quarantine at 2026-03-01 12:05 UTC: a leaked key"),
        ({"verdict": verdict(Decision.BLOCK)}, [], "it was WARN, and is BLOCK by rule-1: because"),
        ({"enforcement": DONE}, [record("QUARANTINE#2")], "QUARANTINE by rule:shut at 2026-03-01 12:05 UTC: because"),
        ({"enforcement": DONE}, [], "in the registry it was none, and is QUARANTINE-2-DONE"),
        ({"denied": True}, [record("BLOCK#1")], "BLOCK by rule:shut"),
        (
            {"storage": StorageStatus.ARCHIVED},
            [record("ARCHIVE", reason="older than 20 images")],
            "ARCHIVE by rule:shut at 2026-03-01 12:05 UTC: older than 20 images",
        ),
        (
            {"storage": StorageStatus.ARCHIVED},
            [record("ARCHIVE", reason="older"), record("ARCHIVED_BY_ECR", "system", "rule 2 archived it")],
            "ARCHIVED_BY_ECR by system at 2026-03-01 12:05 UTC: rule 2 archived it",
        ),
    ],
)
def test_what_was_changed_is_named_with_who_did_it(
    changes: dict[str, Any], records: list[ActionRecord], words: str
) -> None:
    header = msgspec.structs.replace(SEEN, **changes)
    assert header.etag != SEEN.etag
    assert words in "; ".join(changes_since(SEEN.etag, header, records))


def test_an_order_that_is_over_is_named_by_who_took_it_back() -> None:
    before = image(Decision.WARN, order=ORDERED)
    taken = record("ORDER_TAKEN_BACK", "person:bob", "no leak")
    assert "person:bob took the order back" in "; ".join(changes_since(before.etag, SEEN, [taken]))
    assert changes_since(before.etag, SEEN, []) == ("the order that stood is over",)


def test_a_release_that_has_ended_is_named_with_why() -> None:
    before = image(Decision.WARN, order=msgspec.structs.replace(ORDERED, kind=RELEASE))
    why = "the release by ann has ended, known to be exploited: CVE-2026-0001"
    assert changes_since(before.etag, SEEN, [record("ORDER_ENDED", "system", why)]) == (why,)


def test_the_etag_of_another_image_is_none_of_this_one() -> None:
    other = msgspec.structs.replace(SEEN, ref=SEEN.ref.home.image(f"sha256:{'f' * 64}"))
    assert other.etag != SEEN.etag
    assert changes_since(other.etag, SEEN, []) == ("the ETag is of another image, ffffffffffff…",)


def test_what_was_seen_already_is_no_news() -> None:
    before = image(Decision.WARN, enforcement=DONE)
    after = msgspec.structs.replace(before, enforcement=msgspec.structs.replace(DONE, kind=RELEASE, number=3))
    said = changes_since(before.etag, after, [record("QUARANTINE#2"), record("RELEASE#3", "person:bob")])
    assert said == ("RELEASE by person:bob at 2026-03-01 12:05 UTC: because",)


def test_a_scan_that_leaves_the_decision_as_it_is_leaves_the_tag_as_it_is() -> None:
    scanned = {"scan": Scan(ScanState.COMPLETE, scanned_at=LATER), "refreshed_at": LATER, "counts": (0, 1, 0, 0, 0, 0)}
    again = msgspec.structs.replace(SEEN, **scanned, verdict=verdict(Decision.WARN, kev=1), version=9)
    assert again.etag == SEEN.etag


@pytest.mark.parametrize("text", ["", "abc", "a.b.c.d", "{0}.WARN.none.QUARANTINE-x-DONE", "{0}.WARN.none.QUARANTINE"])
def test_an_etag_of_anything_is_answered(text: str) -> None:
    assert changes_since(text.format(SEEN.etag.partition(".")[0]), SEEN, [record("QUARANTINE#2"), record(f"{BLOCK}#3")])


def test_what_the_lifecycle_archived_after_retention_had_is_not_retentions() -> None:
    header = image(Decision.WARN, storage=StorageStatus.ARCHIVED)
    by_retention, by_ecr = record("ARCHIVE"), record("ARCHIVED_BY_ECR", "system")
    assert archived_by_retention(header, [by_ecr, by_retention]) is by_retention
    assert archived_by_retention(header, [by_retention, by_ecr]) is None
