"""What retention archived is released and undone like any other act; what another principal archived is left so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord, action_id, undo_command
from chalicelib.domain.headers.pending_action import Holding
from chalicelib.domain.images.image import StorageStatus
from chalicelib.errors import ConflictError
from chalicelib.services.enforcement.give_order import Given, release_image
from chalicelib.services.enforcement.undo_action import undo_action
from chalicelib.services.retention.apply_retention import WORDS
from tests.services.enforcement.test_enforce_verdict import ACTIVE, ARCHIVED, CRITICAL
from tests.services.enforcement.test_undo_order import Ordered


class Kept(Ordered):
    """An image in whose repository retention archives."""

    def archive_by_retention(self, failed: str = "") -> str:
        """The id of the record; `failed`: ECR refused it."""
        self.moment += timedelta(minutes=1)
        kind = WORDS["archive"]
        record = ActionRecord(self.ref, kind, self.moment, kind, "rule:retention[0]", "too old", self.moment)
        self.stored.record_action(record)
        if failed:
            again = ActionRecord(self.ref, f"FAILED#{kind}", self.moment, f"{kind}_FAILED", "x", failed, self.moment)
            self.stored.record_action(again)
        else:
            self.archive_by_another()
        return action_id(record)

    def archive_by_another(self) -> None:
        self.moment += timedelta(minutes=1)
        self.receive(*self.one.archive())
        self.drain()

    def let_go(self) -> Given:
        self.moment += timedelta(minutes=1)
        given = release_image(self.ref, "bob", "rolled back", self)  # type: ignore[arg-type]
        self.drain()
        return given


@pytest.fixture
def story() -> Kept:
    return Kept()


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_what_retention_archived_is_restored_by_a_release(mode: str) -> None:
    story = Kept(mode=mode)
    story.archive_by_retention()
    assert story.storage is ARCHIVED
    given = story.let_go()
    assert given.lines == ("To be released (archive): on its way.",)
    assert (story.storage, story.stands) == (ACTIVE, ("RELEASE", "bob"))
    assert story.records == ["ARCHIVE", "ORDER_RELEASE", "RELEASE"]
    assert story.head.act is None


def test_what_retention_archived_is_undone_by_the_id_of_its_record(story: Kept) -> None:
    archived = story.archive_by_retention()
    undone = story.undo(archived)
    assert (story.storage, story.stands) == (ACTIVE, ("RELEASE", "dan"))
    assert story.head.order.action == archived
    with pytest.raises(ConflictError, match="by retention is over: it is ACTIVE now"):
        story.undo(archived)
    story.undo(undone)
    assert (story.storage, story.stands) == (ACTIVE, None), "until retention archives it again"


def test_a_dry_run_says_that_it_would_be_restored(story: Kept) -> None:
    archived = story.archive_by_retention()
    planned = undo_action(archived, "dan", "wrong", story, dry_run=True)  # type: ignore[arg-type]
    assert planned.lines == ("Would be released (archive) at once.",)
    story.drain()
    assert (story.storage, story.stands) == (ARCHIVED, None)


def test_a_release_that_is_undone_before_the_restore_leaves_the_image_archived(story: Kept) -> None:
    story.archive_by_retention()
    given: Any = release_image(story.ref, "bob", "rolled back", story)  # type: ignore[arg-type]
    assert given.act.kind == "RELEASE"
    story.undo(action_id(story.orders[-1]))
    assert (story.storage, story.stands, story.head.act) == (ARCHIVED, None, None)


def test_a_slow_restore_is_waited_for_and_done_once(story: Kept) -> None:
    story.archive_by_retention()
    story.acts.restores_at_once = False
    story.let_go()
    assert story.storage is StorageStatus.ACTIVATING
    assert story.held == Holding.RESTORING
    story.wait_for(minutes=10)
    story.acts.finish_restore(story.ref)
    story.wait_for(minutes=10)
    assert (story.storage, story.head.act) == (ACTIVE, None)
    assert [call for call, *_ in story.acts.calls] == ["restore"]


def test_what_another_principal_archived_is_left_so(story: Kept) -> None:
    story.archive_by_another()
    (line,) = story.let_go().lines
    assert "archived, and not by Lazaretto" in line
    assert story.storage is ARCHIVED


def test_what_ecr_refused_to_archive_and_another_principal_archived_is_left_so(story: Kept) -> None:
    story.archive_by_retention(failed="ECR refused")
    story.archive_by_another()
    story.let_go()
    assert story.storage is ARCHIVED


def test_what_another_principal_archives_after_the_release_is_left_so(story: Kept) -> None:
    story.archive_by_retention()
    story.let_go()
    story.archive_by_another()
    story.wait_for(hours=1)
    assert (story.storage, story.stands) == (ARCHIVED, ("RELEASE", "bob"))
    story.let_go()
    assert story.storage is ARCHIVED, "retention's record is of an archive that is over"


def test_only_the_last_archive_is_undone_and_its_id_is_named(story: Kept) -> None:
    first = story.archive_by_retention()
    story.undo(story.undo(first))
    second = story.archive_by_retention()
    record = story.find_action(second)
    assert record is not None
    with pytest.raises(ConflictError, match=f"archived again since: {undo_command(record)}"):
        story.undo(first)
    story.undo(second)
    assert story.storage is ACTIVE


def test_a_flaw_that_it_was_not_released_for_takes_the_image_away_again(story: Kept) -> None:
    story.archive_by_retention()
    story.let_go()
    story.receive(story.one.scanned())
    story.drain()
    story.receive(story.one.flaw(2, severity=CRITICAL))
    story.drain()
    assert (story.storage, story.stands) == (ARCHIVED, None)
