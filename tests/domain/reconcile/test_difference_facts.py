from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.reconcile.difference import DifferenceKind, Memory, ReconcileProgress, RepositoryFacts

AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
LATER = AT + timedelta(hours=1)


def test_what_the_table_holds_today_is_read() -> None:
    stored: dict[str, object] = {
        "created_at": AT,
        "reconcile_at": LATER,
        "reconcile_findings_at": AT,
        "reconcile": msgspec.json.decode(
            b'{"images":4,"found":{"DELETED":1},"lost_events":1,"counts":null,"seen":["a"]}'
        ),
        "replication": {"111122223333/eu-west-1": {"COMPLETE": 3}},
        "changed_by": "arn:aws:iam::111122223333:user/a",
    }
    facts = RepositoryFacts.read(stored)
    memory = Memory(4, {DifferenceKind.DELETED: 1}, 1, None, ("a",))
    assert facts == RepositoryFacts(AT, None, LATER, AT, None, memory, has_copies=True)


@pytest.mark.parametrize("stored", [{}, {"reconcile_at": "2026-03-10", "reconcile": ["other"], "replication": {}}])
def test_what_another_version_wrote_counts_as_absent(stored: dict[str, Any]) -> None:
    assert RepositoryFacts.read(stored) == RepositoryFacts()


@pytest.mark.parametrize(
    ("created", "deleted", "public", "is_deleted", "is_unlisted"),
    [
        (None, None, None, False, False),
        (AT, LATER, None, True, True),
        (None, AT, AT, True, True),
        (LATER, AT, None, False, True),
        (AT, AT, LATER, True, False),
    ],
)
def test_a_later_creation_or_listing_ends_a_deletion(
    created: datetime | None, deleted: datetime | None, public: datetime | None, is_deleted: bool, is_unlisted: bool
) -> None:
    facts = RepositoryFacts(created_at=created, deleted_at=deleted, public_at=public)
    assert (facts.is_deleted, facts.is_unlisted) == (is_deleted, is_unlisted)


def test_a_reconcile_in_flight_goes_on_where_it_was() -> None:
    assert ReconcileProgress.read('{"digest":"sha256:aa","found":{"DELETED":2}}') == ReconcileProgress(
        "sha256:aa", {DifferenceKind.DELETED: 2}
    )
