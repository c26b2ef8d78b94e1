"""What people read when an image could not be pulled."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from chalicelib.adapters.channels.slack_blocks import payload
from chalicelib.adapters.channels.sns import attributes, message
from chalicelib.domain.alerts.alert import hears
from chalicelib.domain.events.event import PulledThrough
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.pull_failure import PullFailureCause
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Repository, Scan, ScanState, Source
from chalicelib.domain.images.names import ImageName
from chalicelib.domain.policy.section import Route
from chalicelib.domain.pulls.alert import PULL_FAILED, compose_cache_alert, compose_pull_failure_alert
from chalicelib.domain.pulls.explanation import Explanation

HOME = Repository("111122223333", "eu-west-1", "team/api")
AT = datetime(2026, 3, 2, 8, 5, 30, tzinfo=UTC)
FAILED = FailedPull(
    ImageName(HOME, "v1"),
    "CannotPullContainerError: not found, see https://evil.example <!channel>",
    AT,
    "arn:aws:ecs:eu-west-1:111122223333:task/prod/0123",
    "arn:aws:ecs:eu-west-1:111122223333:cluster/prod",
    "service:api",
)
OURS = Explanation(
    PullFailureCause.QUARANTINE, "We keep it from being pulled.", ("And more.",), ("Release it.",), ("a-1",)
)
HEADER = Header(
    ref=HOME.image(f"sha256:{'a' * 64}"), tags=("v1",), scan=Scan(ScanState.COMPLETE, source=Source.ENHANCED)
)


def test_the_alert_says_who_could_not_pull_what_and_why() -> None:
    alert = compose_pull_failure_alert(FAILED, OURS, HEADER, AT)
    assert alert.title == "Pull failed (quarantine by Lazaretto): team/api:v1"
    assert alert.notes[0] == (
        "Service api in cluster prod could not pull 111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api:v1 "
        "at 2026-03-02 08:05:30 UTC."
    )
    assert alert.notes[1:3] == ("We keep it from being pulled.", "And more.")
    assert alert.what_to_do == ("Release it.",)
    assert (alert.ref, alert.repository, alert.event) == (HEADER.ref, "team/api", PULL_FAILED)
    assert "/inspector/" in (alert.console_url or "")


def test_an_image_that_is_not_known_is_told_by_its_repository() -> None:
    alert = compose_pull_failure_alert(FAILED, Explanation(PullFailureCause.NOT_FOUND, "It is not there."), None, AT)
    assert alert.title == "Pull failed (not found): team/api:v1"
    assert ("Repository", "team/api") in alert.facts
    assert (alert.ref, alert.console_url) == (None, None)


def test_a_task_of_no_known_service_is_a_task() -> None:
    alone = FailedPull(FAILED.pulled, "not found", AT)
    alert = compose_pull_failure_alert(alone, OURS, None, AT)
    assert alert.notes[0].startswith("A task could not pull ")


def test_routes_are_asked_for_event_and_repository_not_for_a_decision() -> None:
    alert = compose_pull_failure_alert(FAILED, OURS, HEADER, AT)
    heard = Route(channel="sns", word="quarantine", repository=("team/*",), events=(PULL_FAILED,))
    assert hears(heard, alert.event, alert.repository, alert.decision)
    assert not hears(Route(channel="sns", events=("verdict",)), alert.event, alert.repository, alert.decision)
    assert not hears(Route(channel="sns", repository=("prod/*",)), alert.event, alert.repository, alert.decision)


def test_words_of_others_are_harmless_in_every_channel() -> None:
    alert = compose_pull_failure_alert(FAILED, OURS, None, AT)
    assert "https://evil" not in message(alert)
    assert "What was said: CannotPullContainerError" in message(alert)
    assert attributes(alert)["event"]["StringValue"] == "pull-failed"
    assert "https://evil" not in str(payload(alert))


# ---- the pull-through cache

CACHED = PulledThrough(
    Repository("111122223333", "eu-west-1", "mirror/nginx"),
    "FAILED",
    AT,
    "event",
    tag="1.27",
    upstream="quay.io",
    failure_code="UpstreamUnavailable",
    failure_reason="see https://evil.example <!channel>",
    prefix="mirror",
)


def test_a_cache_that_fails_says_what_of_which_upstream_and_what_that_means() -> None:
    alert = compose_cache_alert(CACHED, AT, cached=True)
    assert (alert.event, alert.title) == (PULL_FAILED, "Pull-through cache failed: mirror/nginx:1.27")
    assert alert.notes == (
        "ECR could not fetch mirror/nginx:1.27 from quay.io at 2026-03-02 08:05:30 UTC.",
        "What was said: UpstreamUnavailable: see https[:]//evil.example <!channel>",
        "What it has from before can be pulled and is judged as before; the tag does not move on.",
    )
    assert alert.what_to_do[0] == (
        "See whether the rule works: aws ecr validate-pull-through-cache-rule --ecr-repository-prefix mirror"
        " --registry-id 111122223333 --region eu-west-1"
    )


def test_a_cache_that_says_little_is_told_all_the_same_and_its_prefix_is_no_command() -> None:
    bare = PulledThrough(CACHED.repository, "FAILED", AT, "event")
    alert = compose_cache_alert(bare, AT, cached=False)
    assert alert.title == "Pull-through cache failed: mirror/nginx"
    assert alert.notes[0].startswith("ECR could not fetch mirror/nginx from its upstream registry at ")
    assert alert.notes[1:] == ("What was said: FAILED",)
    assert len(alert.what_to_do) == 1
    unknown = compose_cache_alert(CACHED, AT, cached=False)
    assert unknown.notes[2] == "Lazaretto knows of no image of that tag there: it cannot be pulled."
    odd = compose_cache_alert(msgspec.structs.replace(CACHED, prefix="mirror; rm -rf ~"), AT, cached=True)
    assert "--ecr-repository-prefix 'mirror; rm -rf ~' " in odd.what_to_do[0]
