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

from chalicelib.domain.events.failed_pull import FailedPull, failed_pulls
from chalicelib.domain.events.message import PullFailed
from chalicelib.domain.events.pull_failure import PullFailureCause
from chalicelib.domain.images.names import ImageName
from chalicelib.domain.policy.section import Route
from chalicelib.errors import ConflictError, SettingsError, TransientError, UpstreamError
from chalicelib.local.aws.event_bus import Pattern
from chalicelib.parsers.events.events import parse_event
from chalicelib.services.assessment.requeue import MOST_ATTEMPTS
from chalicelib.services.pulls.notify_pull_failure import handle_pull_failure, notify_pull_failure
from tests.services.lockstep import Worker
from tests.services.pull_context import AT, FORBIDDEN, HOME, HOST, NOT_FOUND, PullContext, Told, failure, image, task

BOTH = (Route(channel="slack"), Route(channel="sns", word="quarantine"))


def tell(context: PullContext, failed: FailedPull, *channels: Told, receives: int = 1) -> None:
    told = {channel.name: channel for channel in channels}
    notify_pull_failure(PullFailed(failed), context, told, "https://api.example", receives=receives)


def again(context: PullContext, *channels: Told) -> None:
    """What was put back is handled."""
    for message in context.taken():
        notify_pull_failure(message, context, {channel.name: channel for channel in channels})


# ---- once


def test_a_failure_is_told_and_recorded_with_what_explains_it() -> None:
    context, slack = PullContext(), Told()
    context.quarantine(image(1), "v1")
    tell(context, failure("team/api:v1"), slack)
    (alert,) = slack.alerts
    assert alert.title == "Pull failed (quarantine by Lazaretto): team/api:v1"
    assert (alert.ref, alert.event, alert.api_url) == (image(1), "pull-failed", "https://api.example")
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


@pytest.mark.parametrize("error", [TransientError("throttled", 7), UpstreamError("no"), SettingsError(["topic"])])
def test_a_channel_that_fails_is_tried_again_without_the_others_being_told_twice(error: Exception) -> None:
    context, slack, sns = PullContext(*BOTH), Told("slack", error), Told("sns")
    tell(context, failure("team/api:v1"), slack, sns)
    assert (len(slack.alerts), len(sns.alerts)) == (0, 1)
    ((queue, message, delay),) = context.sent
    assert (queue, message.told, message.claimed, message.attempt) == ("actions", ("sns",), True, 1)
    assert delay == (7 if isinstance(error, TransientError) else 5)
    again(context, slack, sns)
    assert (len(slack.alerts), len(sns.alerts)) == (1, 1)
    assert len(context.records()) == 1


def test_a_channel_that_fails_for_ever_ends_in_a_failure() -> None:
    context, slack = PullContext(), Told("slack", UpstreamError("invalid_auth"))
    last = PullFailed(failure("team/api:v1"), claimed=True, attempt=MOST_ATTEMPTS)
    with pytest.raises(UpstreamError, match="invalid_auth"):
        notify_pull_failure(last, context, {"slack": slack})


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
    with pytest.raises(TransientError, match="is being written by others"):
        with_broken(context, "record_action", ConflictError("busy"), failure("team/api:v1"), slack)
    assert (slack.alerts, context.sent) == ([], [])


@pytest.mark.parametrize("taken", [True, False])
def test_a_claim_whose_answer_was_lost_is_told_once(taken: bool) -> None:
    """Nobody knows whether it was taken: the message comes again, and may claim once more."""
    context, slack = PullContext(), Told()
    real = context.stored.record_action

    def lost(record: Any) -> bool:
        context.stored.record_action = real  # type: ignore[method-assign]
        if taken:
            real(record)
        raise TransientError("no answer")

    context.stored.record_action = lost  # type: ignore[method-assign]
    tell(context, failure("team/api:v1"), slack)
    ((_, message, _),) = context.sent
    assert (message.doubts, message.claimed, slack.alerts) == (1, False, [])
    again(context, slack)
    tell(context, failure("team/api:v1"), slack)
    assert len(slack.alerts) == 1


def test_a_worker_that_died_with_its_claim_is_succeeded_once() -> None:
    context, slack = PullContext(), Told()
    failed = failure("team/api:v1")
    worker = Worker(lambda: tell(context, failed, slack))
    while worker.last != "send alert":
        worker.step()
    worker.kill()
    assert (len(context.records()), slack.alerts) == (1, [])
    tell(context, failed, slack)
    assert slack.alerts == []
    for _ in range(3):
        tell(context, failed, slack, receives=2)
    assert len(slack.alerts) == 1
    assert [r.effect.rpartition("#")[2] for r in context.records()] == ["2026-03-02T08", "2"]


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
    """Messages of a queue, and workers that handle them one call at a time, in the order the test draws."""

    def __init__(self, context: PullContext, slack: Told, draw: Any) -> None:
        self.context, self.slack, self.draw = context, slack, draw
        self.waiting: list[tuple[PullFailed, int]] = []
        self.working: list[tuple[Worker, PullFailed, int]] = []
        self.crashes: Counter[tuple[str, str, int]] = Counter()

    def step(self, may_crash: bool) -> None:
        """Whoever dies does so with something begun, more often than not: that is where it hurts."""
        starts = [("start", n) for n in range(len(self.waiting))]
        steps = [("go on", n) for n in range(len(self.working))]
        begun = [("crash", n) for n, (worker, _, _) in enumerate(self.working) if worker.last == "send alert"]
        deaths = [("crash", n) for n in range(len(self.working))]
        kinds = [k for k in (starts, steps, steps, steps, *((begun, begun, deaths) if may_crash else ())) if k]
        what, n = self.draw(st.sampled_from(self.draw(st.sampled_from(kinds))))
        if what == "start":
            message, receives = self.waiting.pop(n)
            channels = {"slack": self.slack}
            job = Worker(lambda: notify_pull_failure(message, self.context, channels, receives=receives))
            self.working.append((job, message, receives))
        elif what == "go on":
            self._go_on(n)
        else:
            worker, message, receives = self.working.pop(n)
            worker.kill()
            self.crashes[key_of(message.failed)] += 1
            self.waiting.append((message, receives + 1))
        self.waiting += [(message, 1) for message in self.context.taken()]

    def _go_on(self, n: int) -> None:
        worker, message, _ = self.working[n]
        try:
            worker.step()
        except TransientError:
            self.waiting.append((msgspec.structs.replace(message, attempt=message.attempt + 1), 1))
        if worker.done:
            self.working.pop(n)

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.working)


def key_of(failed: FailedPull) -> tuple[str, str, int]:
    digest = failed.pulled.digest or {"v1": image(1), "v2": image(2)}[failed.pulled.tag or ""].digest
    return failed.group or "", digest, failed.hour.hour


def told_of(context: PullContext, slack: Told) -> Counter[tuple[str, str, int]]:
    found: Counter[tuple[str, str, int]] = Counter()
    for alert in slack.alerts:
        group = "service:api" if "Service api" in alert.notes[0] else "service:web"
        assert alert.ref is not None
        hour = int(alert.notes[0].rpartition(" at 2026-03-02 ")[2][:2])
        found[group, alert.ref.digest, hour] += 1
    return found


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
        if not lane.busy:
            break
        lane.step(may_crash=crashing and sum(lane.crashes.values()) < 4)
    while lane.busy:
        finish(lane)
    told = told_of(context, slack)
    wanted = {(group, image(number).digest, 8 + hour) for group, number, hour in deliveries}
    assert set(told) == wanted
    for key, times in told.items():
        assert times <= 1 + lane.crashes[key], (key, times)


def finish(lane: Lane) -> None:
    """Nobody dies any more, one after the other."""
    while lane.working:
        lane._go_on(0)
    lane.waiting += [(message, 1) for message in lane.context.taken()]
    if lane.waiting:
        message, receives = lane.waiting.pop(0)
        notify_pull_failure(message, lane.context, {"slack": lane.slack}, receives=receives)
    lane.waiting += [(message, 1) for message in lane.context.taken()]


ROOT = Path(__file__).parents[3]
RESOURCES = json.loads((ROOT / ".chalice/resources.json").read_text())["Resources"]
PATTERN = RESOURCES["PullFailureRule"]["Properties"]["EventPattern"]
RULE = Pattern(json.dumps(PATTERN), PATTERN)
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
    assert RULE.fits(Pattern.flat(event)) is reaches_us
    assert bool(heard(parse_event(event))) is is_told
