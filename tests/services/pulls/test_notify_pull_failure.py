"""People are alerted about a failed pull once an hour for each service and image, whatever queue and workers do."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.failed_pull import FailedPull, failed_pulls
from chalicelib.domain.events.message import PullFailed, SendAlert
from chalicelib.domain.events.pull_failure import PullFailureCause
from chalicelib.domain.images.names import ImageName
from chalicelib.domain.policy.section import Route
from chalicelib.errors import ConflictError, TransientError
from chalicelib.local.aws.deployment import RulePlan
from chalicelib.local.aws.messages import queues_of
from chalicelib.parsers.events.events import parse_event
from chalicelib.services.channels.deliver_alert import CLAIM, deliver_alert
from chalicelib.services.pulls.notify_pull_failure import handle_pull_failure, notify_pull_failure
from tests.services.lockstep import Worker
from tests.services.pull_context import AT, FORBIDDEN, HOME, HOST, NOT_FOUND, PullContext, Told, failure, image, task


def tell(context: PullContext, failed: FailedPull, *channels: Told, receives: int = 1) -> None:
    notify_pull_failure(PullFailed(failed), context, fresh=receives == 1)
    deliver(context, *channels)


def deliver(context: PullContext, *channels: Told) -> None:
    """What was announced is delivered; what a channel did not take lies in the queue again."""
    for message in context.taken_alerts():
        deliver_alert(message, context, {channel.name: channel for channel in channels}, fresh=not message.attempt)


# ---- once


def test_a_failure_is_told_and_recorded_with_what_explains_it() -> None:
    context, slack = PullContext(), Told()
    context.quarantine(image(1), "v1")
    tell(context, failure("team/api:v1"), slack)
    (alert,) = slack.alerts
    assert alert.title == "Pull failed (quarantine by Lazaretto): team/api:v1"
    assert (alert.ref, alert.event) == (image(1), "pull-failed")
    (record,) = context.records()
    assert (record.ref, record.actor, record.wanted_at) == (image(1), "system", AT.replace(minute=0, second=0))
    assert record.effect == "PULL_FAILED#eu-west-1:111122223333/prod/service:api#2026-03-02T08"
    assert record.reason.startswith("Lazaretto keeps it from being pulled: QUARANTINE#3 archived it")
    assert record.before == "ARCHIVED"
    assert context.sent == []


def test_an_image_that_is_not_known_here_is_told_and_recorded_with_its_repository() -> None:
    context, slack = PullContext(), Told()
    tell(context, failure("team/api:never"), slack)
    (record,) = context.records()
    assert (record.ref, record.subject) == (None, "repository/111122223333/eu-west-1/team/api")
    assert record.effect == "PULL_FAILED#eu-west-1:111122223333/prod/service:api#never#2026-03-02T08"
    assert "was never heard of here" in slack.alerts[0].notes[1]
    tell(context, failure("team/api:never"), slack)
    assert len(slack.alerts) == 1


def test_several_tasks_of_a_service_that_fail_alike_are_one_alert() -> None:
    context, slack = PullContext(), Told()
    context.know(image(1), "v1")
    for number in range(5):
        (failed,) = failed_pulls(task(f"{HOST}/team/api:v1", number=number, at=AT + timedelta(minutes=number)))
        tell(context, failed, slack)
    assert len(slack.alerts) == len(context.records()) == 1


def test_a_tag_and_the_digest_it_points_at_are_one_image() -> None:
    context, slack = PullContext(), Told()
    context.know(image(1), "v1")
    tell(context, failure("team/api:v1"), slack)
    tell(context, failure(f"team/api@{image(1).digest}"), slack)
    assert len(slack.alerts) == 1


@pytest.mark.parametrize(
    "other",
    [
        failure("team/api:v1", group="service:web"),
        failure("team/api:v2"),
        failure("team/api:v1", at=AT + timedelta(hours=1)),
        msgspec.structs.replace(failure("team/api:v1"), cluster_arn="arn:aws:ecs:eu-west-1:111122223333:cluster/test"),
    ],
)
def test_another_service_image_hour_or_cluster_is_told_by_itself(other: FailedPull) -> None:
    context, slack = PullContext(), Told()
    context.know(image(1), "v1")
    context.know(image(2), "v2")
    tell(context, failure("team/api:v1"), slack)
    tell(context, other, slack)
    assert len(slack.alerts) == 2


def test_a_duplicate_asks_neither_ecr_nor_for_the_role() -> None:
    context, slack = PullContext(), Told()
    context.know(image(1), "v1")
    for said in ("not found", "403 Forbidden"):
        failed = failure("team/api:v1", said=f"CannotPullContainerError: {said}", group=f"service:{said}")
        tell(context, failed, slack)
        asked = (len(context.ecr.asked), len(context.runtime.asked_roles))
        tell(context, failed, slack)
        assert (len(context.ecr.asked), len(context.runtime.asked_roles)) == asked
    assert asked == (1, 1)


def test_the_role_that_pulls_is_named() -> None:
    context, slack = PullContext(), Told()
    failed = failure("team/api:v1", said=FORBIDDEN)
    context.runtime.roles[failed.task_arn or ""] = "arn:aws:iam::111122223333:role/api-execution"
    tell(context, failed, slack)
    assert "arn:aws:iam::111122223333:role/api-execution may not pull from" in slack.alerts[0].notes[1]


# ---- routes and channels


def test_only_routes_that_hear_the_event_and_the_repository_are_told() -> None:
    routes = (Route(channel="slack", events=("verdict",)), Route(channel="sns", repository=("prod/*",)))
    context, slack, sns = PullContext(*routes), Told("slack"), Told("sns")
    tell(context, failure("team/api:v1"), slack, sns)
    assert (slack.alerts, sns.alerts) == ([], [])
    assert len(context.records()) == 1


def test_a_channel_named_by_two_routes_is_told_once_and_one_not_set_up_is_passed_over() -> None:
    context, slack = PullContext(Route(channel="slack"), Route(channel="slack"), Route(channel="sns")), Told("slack")
    tell(context, failure("team/api:v1"), slack)
    assert len(slack.alerts) == 1
    assert context.sent == []


# ---- what breaks in between


@pytest.mark.parametrize("broken", ["read_headers", "last_tag_move", "read_denied", "action_at"])
def test_a_table_that_does_not_answer_leaves_the_failure_untold_and_unclaimed(broken: str) -> None:
    context, slack = PullContext(), Told()
    context.know(image(1), "v1")
    with pytest.raises(TransientError):
        with_broken(context, broken, TransientError("throttled"), failure("team/api:v1"), slack)
    assert (context.records(), slack.alerts, context.sent) == ([], [], [])
    tell(context, failure("team/api:v1"), slack)
    assert len(slack.alerts) == 1


def test_writers_that_are_faster_leave_it_to_a_later_try() -> None:
    context, slack = PullContext(), Told()
    with pytest.raises(ConflictError):
        with_broken(context, "record_action", ConflictError("busy"), failure("team/api:v1"), slack)
    assert (slack.alerts, context.sent) == ([], [])


@pytest.mark.parametrize("taken", [True, False])
def test_a_record_whose_answer_was_lost_is_announced_by_the_next_try(taken: bool) -> None:
    context, slack = PullContext(), Told()
    real = context.stored.record_action

    def lost(record: Any) -> bool:
        context.stored.record_action = real  # type: ignore[method-assign]
        if taken:
            real(record)
        raise TransientError("no answer")

    context.stored.record_action = lost  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        tell(context, failure("team/api:v1"), slack)
    tell(context, failure("team/api:v1"), slack, receives=2)
    tell(context, failure("team/api:v1"), slack)
    assert (len(slack.alerts), len(context.records())) == (1, 1)


def test_a_worker_that_died_before_it_announced_is_succeeded_and_told_once() -> None:
    context, slack = PullContext(), Told()
    failed = failure("team/api:v1")
    worker = Worker(lambda: tell(context, failed, slack))
    while worker.last != "send message":
        worker.step()
    worker.kill()
    assert (len(context.records()), slack.alerts) == (1, [])
    tell(context, failed, slack)
    assert slack.alerts == [], "a first receive that finds the record is a duplicate"
    for _ in range(3):
        tell(context, failed, slack, receives=2)
    assert (len(slack.alerts), len(context.records())) == (1, 1)


def with_broken(context: PullContext, method: str, error: Exception, failed: FailedPull, *channels: Told) -> None:
    real = getattr(context.stored, method)

    def broken(*_: Any, **__: Any) -> Any:
        setattr(context.stored, method, real)
        raise error

    setattr(context.stored, method, broken)
    try:
        tell(context, failed, *channels)
    finally:
        setattr(context.stored, method, real)


# ---- any order, duplicates, rivals, crashes

KEYS = [(group, number, hour) for group in ("service:api", "service:web") for number in (1, 2) for hour in (0, 1)]


class Lane:
    """Messages of two queues, and workers that handle them one call at a time, in the order the test draws."""

    def __init__(self, context: PullContext, slack: Told, draw: Any) -> None:
        self.context, self.slack, self.draw = context, slack, draw
        self.waiting: list[tuple[PullFailed | SendAlert, int]] = []
        self.working: list[tuple[Worker, PullFailed | SendAlert, int]] = []
        self.later: list[tuple[PullFailed | SendAlert, int]] = []
        self.crashes: Counter[tuple[str, str, int]] = Counter()

    def step(self, may_crash: bool) -> None:
        """A worker that dies has begun to send, more often than not: that is where it hurts."""
        starts = [("start", n) for n in range(len(self.waiting))]
        steps = [("go on", n) for n in range(len(self.working))]
        begun = [("crash", n) for n, (worker, _, _) in enumerate(self.working) if worker.last == "send alert"]
        deaths = [("crash", n) for n in range(len(self.working))]
        kinds = [k for k in (starts, steps, steps, steps, *((begun, begun, deaths) if may_crash else ())) if k]
        what, n = self.draw(st.sampled_from(self.draw(st.sampled_from(kinds))))
        if what == "start":
            self.start(n)
        elif what == "go on":
            self.go_on(n)
        else:
            worker, message, receives = self.working.pop(n)
            worker.kill()
            if isinstance(message, SendAlert):
                self.crashes[told_by(message.alert)] += 1
            self.waiting.append((message, receives + 1))
        self.take()

    def start(self, n: int) -> None:
        message, receives = self.waiting.pop(n)
        fresh = receives == 1 and not message.attempt
        if isinstance(message, SendAlert):
            job = Worker(lambda: deliver_alert(message, self.context, {"slack": self.slack}, fresh=fresh))
        else:
            job = Worker(lambda: notify_pull_failure(message, self.context, fresh=fresh))
        self.working.append((job, message, receives))

    def go_on(self, n: int) -> None:
        worker, message, _ = self.working[n]
        try:
            worker.step()
        except (TransientError, ConflictError):
            self.later.append((msgspec.structs.replace(message, attempt=message.attempt + 1), 1))
        if worker.done:
            self.working.pop(n)

    def take(self) -> None:
        self.waiting += [(message, 1) for message in (*self.context.taken(), *self.context.taken_alerts())]

    def finish(self) -> None:
        """No worker dies any more; what was requeued comes when none is left that may be sending."""
        while self.waiting or self.working or self.later:
            while self.working:
                self.go_on(0)
            self.take()
            if not self.waiting:
                self.context.moment += CLAIM
                self.waiting, self.later = self.later, []
            if self.waiting:
                self.start(0)


def told_by(alert: Alert) -> tuple[str, str, int]:
    """Service, image and hour."""
    group = "service:api" if "Service api" in alert.notes[0] else "service:web"
    assert alert.ref is not None
    return group, alert.ref.digest, int(alert.notes[0].rpartition(" at 2026-03-02 ")[2][:2])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_comes_in_whatever_order_each_service_image_and_hour_is_told_once(data: st.DataObject) -> None:
    context, slack = PullContext(), Told("slack")
    context.quarantine(image(1), "v1")
    context.know(image(2), "v2")
    deliveries = data.draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=8))
    crashing = data.draw(st.booleans())
    lane = Lane(context, slack, data.draw)
    for group, number, hour in deliveries:
        name = data.draw(st.sampled_from([f"team/api:v{number}", f"team/api@{image(number).digest}"]))
        minute = data.draw(st.integers(0, 50))
        at = AT.replace(minute=0) + timedelta(hours=hour, minutes=minute)
        lane.waiting.append((PullFailed(failure(name, group=group, at=at)), 1))
    slack.failing = [TransientError("busy")] * data.draw(st.integers(0, 2))
    for _ in range(400):
        if not (lane.waiting or lane.working):
            break
        lane.step(may_crash=crashing and sum(lane.crashes.values()) < 4)
    lane.finish()
    told = Counter(map(told_by, slack.alerts))
    wanted = {(group, image(number).digest, 8 + hour) for group, number, hour in deliveries}
    assert set(told) == wanted
    for key, times in told.items():
        assert times <= 1 + lane.crashes[key], (key, times)


ROOT = Path(__file__).parents[3]
RESOURCES = json.loads((ROOT / ".chalice/resources.json").read_text())["Resources"]
PATTERN = RESOURCES["PullFailureRule"]["Properties"]["EventPattern"]
RULE = RulePlan("PullFailureRule", PATTERN, ("scans",))
SAMPLE = json.loads((ROOT / "events/ecs-task-pull-failed.json").read_text())
AUTH = "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException: not authorized"


def heard(event: Any) -> list[ImageName]:
    context = PullContext()
    handle_pull_failure(event, context)
    return [message.failed.pulled for message in context.taken()]


def test_each_image_of_a_task_is_handed_on_once() -> None:
    names = [f"{HOST}/team/api:1", f"{HOST}/team/api:2", f"{HOST}/team/api:1", "docker.io/library/nginx:1"]
    assert heard(task(*names)) == [ImageName(HOME, "1"), ImageName(HOME, "2")]


def test_the_sample_of_a_failed_pull_is_handed_on_with_what_was_said() -> None:
    context = PullContext()
    handle_pull_failure(parse_event(SAMPLE), context)
    (message,) = context.taken()
    assert message.failed.pulled == ImageName(HOME, "1.4.2")
    assert message.failed.cause is PullFailureCause.NOT_FOUND
    assert message.failed.where == "service api in cluster prod"
    assert context.records() == []


def test_a_task_that_runs_is_none_of_ours() -> None:
    running = json.loads((ROOT / "events/ecs-task-running.json").read_text())
    assert heard(parse_event(running)) == []


@pytest.mark.parametrize(
    ("stopped", "container", "reaches_us", "is_told"),
    [
        (f"{NOT_FOUND}", None, True, True),
        ("Task failed to start", "CannotPullImageManifestError: manifest unknown", True, True),
        ("CannotPullECRContainerError: AccessDeniedException: no", None, True, True),
        (AUTH, None, True, True),
        (AUTH.replace("AccessDeniedException", "unable to retrieve secret from asm"), None, True, False),
        ("Essential container in task exited", "OutOfMemoryError", False, False),
    ],
)
def test_rule_and_reader_agree_about_what_a_failed_pull_is(
    stopped: str, container: str | None, reaches_us: bool, is_told: bool
) -> None:
    event = json.loads(json.dumps(SAMPLE))
    event["detail"]["stoppedReason"] = stopped
    event["detail"]["containers"][0]["reason"] = container
    assert bool(queues_of(event, [RULE])) is reaches_us
    assert bool(heard(parse_event(event))) is is_told
