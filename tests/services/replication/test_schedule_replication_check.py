"""A push has its copies looked at later, and what ECR says of a copy has them looked at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.events.event import ImageAction, Replicated
from chalicelib.errors import DeniedError, TransientError
from chalicelib.parsers.events.events import parse_event
from chalicelib.services.replication.schedule_replication_check import schedule_replication_check
from tests.services import copying
from tests.services.copying import FAR, HOME, NEAR, WITHIN, Estate, copied_to_both

aws = copying.aws
REF = HOME.image(f"sha256:{1:064x}")


@pytest.fixture
def estate(aws: Any) -> Estate:
    made = Estate(aws)
    made.configure(("team/", (NEAR, FAR)))
    return made


def heard(estate: Estate, event: Any) -> list[Any]:
    schedule_replication_check(event, estate)  # type: ignore[arg-type]
    return estate.sent_on


def pushed(estate: Estate, **changes: Any) -> ImageAction:
    said = {"ref": REF, "action": "PUSH", "result": "SUCCESS", "time": estate.moment, "event_id": "1", **changes}
    return ImageAction(**said)


def test_a_push_schedules_a_check_after_the_time_the_policy_gives(estate: Estate) -> None:
    ((message, delay),) = heard(estate, pushed(estate))
    assert (message.ref, message.due_at, message.changed_at) == (REF, estate.moment + WITHIN, estate.moment)
    assert delay == WITHIN.total_seconds()


@pytest.mark.parametrize("minutes", [120, 121, 1_440])
def test_a_check_is_sent_to_itself_a_few_times_at_most_and_the_sweep_looks_at_what_has_longer(
    aws: Any, minutes: int
) -> None:
    """SQS keeps a message for 900 s; Lambda ends a function that sends to itself 16 times."""
    estate = copied_to_both(aws, takes=timedelta(days=9))
    estate.change_policy(replication={"within_minutes": minutes}, notify=[{"channel": "slack"}])
    estate.kept = None
    ref = estate.push(1, "v1")
    sent, waiting = 0, heard(estate, pushed(estate, ref=ref))
    while waiting:
        (message, delay), *_ = waiting
        estate.later(min(delay, 900) / 60)
        estate.sent_on.clear()
        estate.take(message)
        sent, waiting = sent + 1, estate.sent_on
    assert sent == (8 if minutes == 120 else 0)
    estate.later(max(0, minutes - sent * 15)).sweep()
    assert estate.stands(ref, NEAR) == ("IN_PROGRESS", "late")


def test_a_push_that_was_heard_late_is_looked_at_by_when_it_happened(estate: Estate) -> None:
    ((_, delay),) = heard(estate, pushed(estate, time=estate.moment - timedelta(hours=2)))
    assert delay == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "DELETE"},
        {"result": "FAILED"},
        {"action": "UPDATE_STORAGE_CLASS", "target_storage_class": "ARCHIVE"},
        {"ref": FAR.repository(HOME).image(REF.digest)},
    ],
    ids=["deleted", "failed", "archived", "of another registry"],
)
def test_what_is_not_copied_schedules_none(estate: Estate, changes: Any) -> None:
    assert heard(estate, pushed(estate, **changes)) == []


def test_a_repository_that_no_rule_covers_schedules_none(estate: Estate) -> None:
    elsewhere = NEAR.repository(HOME)
    other = type(elsewhere)(HOME.registry, HOME.region, "prod/api").image(REF.digest)
    assert heard(estate, pushed(estate, ref=other)) == []


def test_an_image_that_was_given_back_from_the_archive_is_copied(estate: Estate) -> None:
    restored = pushed(estate, action="UPDATE_STORAGE_CLASS", target_storage_class="STANDARD")
    assert len(heard(estate, restored)) == 1


@pytest.mark.parametrize("failure", [TransientError("throttled"), DeniedError("no")])
def test_a_look_up_that_fails_schedules_a_check_all_the_same(estate: Estate, failure: Exception) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise failure

    estate.replication.configuration = failing
    assert len(heard(estate, pushed(estate))) == 1


def test_what_ecr_says_of_a_copy_has_that_copy_alone_looked_at_now(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    (first, *_) = estate.heard
    event = parse_event(first)
    assert isinstance(event, Replicated)
    ((message, delay),) = heard(estate, event)
    assert (message.ref, message.due_at, delay) == (ref, estate.moment, 0)
    assert message.destination == NEAR
