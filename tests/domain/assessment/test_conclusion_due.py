"""When the clock comes to an image: what counts for `due_at`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import (
    LOST_AFTER,
    SUMMED_WITHIN,
    ActionType,
    EndedWaivers,
    PendingAct,
    PendingAction,
    PendingAlert,
    PendingReport,
)
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision, VerdictSummary

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "team/api", "sha256:" + "a" * 64)
ALERT = PendingAlert(1, NOW, Decision.BLOCK)
SUMMED = msgspec.structs.replace(ALERT, ended=EndedWaivers(("w",), VerdictSummary(Decision.ALLOW)))
ACT = PendingAct(ActionType.QUARANTINE, 1, NOW)


def header(*pending: PendingAction, refresh: bool = False, exists: bool = True) -> Header:
    due = NOW + timedelta(seconds=60) if refresh else None
    return Header(ref=REF, version=1, exists=exists, pending=pending, refresh_due_at=due)


@pytest.mark.parametrize("alert", [ALERT, PendingReport(1, NOW, Decision.BLOCK)])
def test_an_alert_is_left_to_the_refresh_that_is_promised(alert: PendingAction) -> None:
    assert with_due(header(alert), NOW).due_at == NOW + LOST_AFTER
    assert with_due(header(alert, refresh=True), NOW).due_at is None
    assert with_due(header(alert, refresh=True)).due_at is None


def test_a_deleted_image_is_not_refreshed_so_the_clock_comes() -> None:
    assert with_due(header(ALERT, refresh=True, exists=False), NOW).due_at == NOW + LOST_AFTER


def test_acts_and_alerts_of_a_summary_count_all_the_same() -> None:
    assert with_due(header(ACT, refresh=True), NOW).due_at == NOW + LOST_AFTER
    assert with_due(header(SUMMED, refresh=True), NOW).due_at == NOW + SUMMED_WITHIN


def test_what_is_stored_and_would_only_move_later_stays() -> None:
    stored = msgspec.structs.replace(header(ALERT, refresh=True), due_at=NOW + timedelta(minutes=1))
    assert with_due(stored, NOW).due_at == NOW + timedelta(minutes=1)
    assert with_due(stored).due_at is None


def test_what_is_due_now_has_had_its_turn() -> None:
    assert with_due(msgspec.structs.replace(header(), due_at=NOW), NOW).due_at is None
