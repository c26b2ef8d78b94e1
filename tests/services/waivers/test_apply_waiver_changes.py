"""A waiver that is given, changed or ended reaches every image it touches, quietly, and people are told once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.message import Decide, Delivery, SendAlert, WaiversChanged, WatchWaivers
from chalicelib.domain.headers.header import Header, Rules, sketch_of
from chalicelib.domain.images.finding import Finding, FindingStatus, Package, Severity
from chalicelib.domain.images.image import ImageRef, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.errors import TransientError
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.waivers.apply_waiver_changes import (
    LOST_AFTER,
    MOST_AT_ONCE,
    apply_waiver_changes,
)
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from tests.fakes.index import FakeIndex
from tests.fakes.journal import FakeJournal
from tests.fakes.waivers import FakeWaivers
from tests.services.context import Story

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def waiver(now: datetime = NOW, days: float = 30, **changes: Any) -> Waiver:
    said: dict[str, Any] = {
        "repository": "team/*",
        "vulnerability_id": "CVE-2026-0001",
        "package": None,
        "rule": None,
        "reason": "not reachable",
        "approved_by": "platform security",
        "expires_at": now + timedelta(days=days),
        "created_at": now,
        **changes,
    }
    return Waiver(id=waiver_id(*(said[n] for n in ("repository", "vulnerability_id", "package", "rule"))), **said)


# ---- one image, every message handled


def give(story: Story, one: Waiver) -> None:
    manage_waivers(Give(one), "oncall", story)  # type: ignore[arg-type]


def waived(story: Story) -> set[str]:
    return {name for reason in story.head.verdict.reasons for name in reason.waived}


def test_a_blocked_image_is_allowed_by_a_waiver_that_its_reasons_name_and_blocked_again_at_its_end():
    story = Story()
    assert story.head.decision is Decision.BLOCK
    one = waiver(story.moment)
    give(story, one)
    story.drain()
    assert (story.head.decision, waived(story)) == (Decision.ALLOW, {one.id})
    manage_waivers(End(one.id, "it is reachable after all"), "oncall", story)
    story.drain()
    assert (story.head.decision, waived(story)) == (Decision.BLOCK, set())
    assert story.waivers.changes() == ()
    assert [a.event for a in story.said] == ["waiver", "waiver"]
    assert not story.wanted_alerts
    assert [n for n in story.said[0].notes if "before" in n] == ["BLOCK: 0 (before: 1)", "ALLOW: 1 (before: 0)"]
    assert [n for n in story.said[1].notes if "before" in n] == ["BLOCK: 1 (before: 0)", "ALLOW: 0 (before: 1)"]


def test_a_waiver_that_expires_blocks_again_at_that_very_moment_without_a_sweep():
    story = Story()
    one = waiver(story.moment, days=2, even_if_exploited=True)
    give(story, one)
    story.drain()
    assert story.head.decide_at == one.expires_at
    story.moment = one.expires_at - timedelta(microseconds=1)
    story.receive(Decide(story.ref, "clock"))
    assert story.head.decision is Decision.ALLOW
    story.moment = one.expires_at
    story.receive(Decide(story.ref, "clock"))
    assert (story.head.decision, waived(story)) == (Decision.BLOCK, set())


def test_a_waiver_for_a_rule_excuses_what_the_rule_is_about():
    story = Story()
    give(story, waiver(story.moment, vulnerability_id=None, rule="high"))
    story.drain()
    assert story.head.decision is Decision.ALLOW


def test_a_waiver_that_ends_earlier_than_it_did_is_decided_by_its_new_end():
    """The image is allowed already: it must be decided again all the same."""
    story = Story()
    give(story, waiver(story.moment, vulnerability_id=None, rule="high"))
    story.drain()
    sooner = waiver(story.moment, days=0.5, vulnerability_id=None, rule="high")
    give(story, sooner)
    story.drain()
    assert story.head.decide_at == sooner.expires_at


def test_what_turns_out_to_be_exploited_is_excused_no_more_though_no_rule_asks_for_that():
    story = Story()
    give(story, waiver(story.moment, days=30))
    story.drain()
    assert story.head.decision is Decision.ALLOW
    assert story.head.decide_at <= story.moment + timedelta(days=1), "each day it is asked whether it is exploited"
    story.kev |= {finding.source_finding_id: True for finding in story.doc.findings}
    story.after(86_460)
    re_decide(shard_of(story.ref), story)
    story.drain()
    assert (story.head.decision, waived(story)) == (Decision.BLOCK, set())
    assert "what is known to be exploited is excused no more by w-" in story.head.verdict.reasons[0].detail
    give(story, waiver(story.moment, days=30))
    story.drain()
    assert story.head.decision is Decision.ALLOW, "it was given again, by one who knew"


def test_one_that_says_so_excuses_what_turns_out_to_be_exploited():
    story = Story()
    give(story, waiver(story.moment, days=30, even_if_exploited=True))
    story.drain()
    story.kev |= {finding.source_finding_id: True for finding in story.doc.findings}
    story.receive(story.one.flaw(1))
    story.drain()
    assert story.head.decision is Decision.ALLOW


def test_a_worker_that_remembers_the_rules_of_before_decides_by_the_waiver():
    story = Story()
    story.current()
    give(story, waiver(story.moment))
    story.kept = (story.moment, Rules(story.policies[-1], (), story.versions[0], 0))
    story.receive(Decide(story.ref, "waiver", quiet=True))
    assert story.head.decision is Decision.ALLOW


# ---- many images in an index


class Place:
    """Headers, an index over them, and a queue whose messages the test takes."""

    def __init__(self, policy: dict[str, Any] | None = None, walked_rows: int = 10_000) -> None:
        self.moment = NOW
        self.headers: list[Header] = []
        self.sent: list[tuple[str, Any, float]] = []
        self.waivers = FakeWaivers()
        self.records: list[Any] = []
        self.queries = FakeIndex(lambda: self.headers, walked_rows)
        self.rules = self
        self.policy = parse_policy(
            {"version": 1, "notify": [{"channel": "slack", "min_decision": "allow"}], **(policy or {})}
        )
        self.clock = SimpleNamespace(now=lambda: self.moment)
        self.outbox = self
        self.journal = FakeJournal()
        self.table = SimpleNamespace(record_action=self.record)
        self.consistency_delay = timedelta(seconds=60)
        self.slack = Slack()
        self.channels: dict[str, Any] = {"slack": self.slack}

    def send(self, queue: str, message: Any, delay: float = 0) -> None:
        if isinstance(message, SendAlert):
            self.channels[message.channel].send(message.alert)
        else:
            self.sent.append((queue, message, delay))

    def send_all(self, queue: str, messages: Iterable[Any]) -> None:
        for message in messages:
            self.send(queue, message)

    def current(self) -> Rules:
        return Rules(self.policy)

    def policy_in_force(self) -> tuple[Policy, int]:
        return self.policy, 0

    def record(self, record: Any) -> bool:
        known = any((r.effect, r.wanted_at) == (record.effect, record.wanted_at) for r in self.records)
        self.records += [] if known else [record]
        return not known

    def image(
        self, number: int, decision: Decision = Decision.BLOCK, repository: str = "team/api", *ids: str
    ) -> Header:
        ref = ImageRef("111122223333", "eu-west-1", repository, f"sha256:{number:064x}")
        found = [Finding(i, Severity.HIGH, "HIGH", Source.BASIC, f"f-{i}") for i in ids or ("CVE-2026-0001",)]
        verdict = Verdict(decision, (Reason("high", decision),), 1, NOW)
        header = Header(ref=ref, version=1, exists=True, pushed_at=NOW, verdict=verdict, sketch=sketch_of(found))
        self.headers.append(header)
        return header

    def put(self, one: Waiver, former: Waiver | None = None) -> WaiverChange:
        return self.waivers.put(WaiverChange(former=former, waiver=one, by="person:oncall", at=self.moment))

    def spread(self, message: WaiversChanged) -> None:
        apply_waiver_changes(message, self)  # type: ignore[arg-type]

    def run(self) -> list[ImageRef]:
        """Begins a sweep and handles its messages to the end; returns the images asked to be decided, in order."""
        self.spread(WaiversChanged())
        asked = []
        while self.sent:
            queue, message, _ = self.sent.pop(0)
            if queue == "scans":
                assert (message.why, message.quiet) == ("waiver", True)
                asked.append(message.ref)
            else:
                self.spread(message)
        return asked


class Slack:
    name = "slack"

    def __init__(self) -> None:
        self.alerts: list[Any] = []
        self.broken = False

    def send(self, alert: Any) -> None:
        if self.broken:
            raise TransientError("not now")
        self.alerts.append(alert)


def test_only_images_it_may_touch_are_decided_and_each_of_them_twice():
    place = Place()
    touched = [place.image(1), place.image(2, Decision.ALLOW), place.image(3, Decision.WARN, "team/web")]
    place.image(4, Decision.BLOCK, "prod/api")
    place.image(5, Decision.BLOCK, "team/api", "CVE-2026-0009")
    place.put(waiver())
    asked = place.run()
    assert sorted(asked) == sorted(2 * [h.ref for h in touched])


def test_the_second_round_comes_after_a_moment():
    place = Place()
    place.put(waiver())
    place.spread(WaiversChanged())
    (_, first, delay) = place.sent.pop()
    assert (first.round, delay) == (1, 0)
    place.spread(first)
    (_, second, delay) = place.sent.pop()
    assert (second.round, delay) == (2, 60)


def test_a_new_waiver_for_a_rule_leaves_alone_what_nothing_punishes():
    place = Place()
    place.image(1, Decision.ALLOW)
    place.image(2, Decision.PENDING)
    place.image(3, Decision.BLOCK)
    one = waiver(vulnerability_id=None, rule="high")
    place.put(one)
    assert {ref.digest[-1] for ref in place.run()} == {"2", "3"}
    place.put(waiver(vulnerability_id=None, rule="high", reason="other words"), former=one)
    assert {ref.digest[-1] for ref in place.run()} == {"1", "2", "3"}


def test_where_a_rule_looks_at_resolved_findings_no_sketch_is_trusted():
    rule = {"id": "gone", "match": {"status": ["RESOLVED", "OPEN"]}, "decision": "warn"}
    place = Place({"rules": [rule]})
    place.image(1, Decision.WARN, "team/api", "CVE-2026-0009")
    place.put(waiver())
    assert len(place.run()) == 2


def test_a_file_of_waivers_is_one_walk_and_one_alert():
    place = Place()
    for number in range(12):
        place.image(number, Decision.BLOCK, "team/api", f"CVE-2026-{number:04d}")
        place.put(waiver(vulnerability_id=f"CVE-2026-{number:04d}"))
    for _ in range(3):
        place.spread(WaiversChanged())
    assert len(place.sent) == 1
    assert len(place.run()) == 24
    assert place.queries.pages == 2
    (alert,) = place.slack.alerts
    assert alert.title == "12 waivers changed"
    assert "and 7 more: lazaretto waivers" in alert.notes
    assert place.waivers.changes() == ()
    assert len(place.records) == 12


def test_a_file_whose_waivers_come_one_by_one_is_two_sweeps():
    """Each is announced at once, as the API gives them, and the first is on its way before the others are there."""
    place = Place()
    for number in range(12):
        place.image(number, Decision.BLOCK, "team/api", f"CVE-2026-{number:04d}")
        place.put(waiver(vulnerability_id=f"CVE-2026-{number:04d}"))
        place.spread(WaiversChanged())
    assert [len(message.changes) for _, message, _ in place.sent] == [1]
    assert len(place.run()) == 24
    assert [alert.title.partition(":")[0] for alert in place.slack.alerts] == ["Waiver given", "11 waivers changed"]
    assert place.waivers.changes() == ()
    assert len(place.records) == 12


def test_a_channel_that_fails_keeps_no_sweep_that_waits_from_beginning():
    place = Place()
    place.put(waiver())
    place.spread(WaiversChanged())
    place.put(waiver(vulnerability_id="CVE-2026-0002"))
    place.slack.broken = True
    place.spread(place.sent.pop()[1])
    with pytest.raises(TransientError):
        place.spread(place.sent.pop()[1])
    assert [message for _, message, _ in place.sent] == [WaiversChanged()]


def test_a_walk_goes_on_where_a_message_ended_and_counts_all_of_it():
    place = Place(walked_rows=7)
    for number in range(20):
        place.image(number, Decision.BLOCK if number % 2 else Decision.WARN)
    place.put(waiver())
    assert len(place.run()) == 40
    assert place.queries.pages == 6
    (alert,) = place.slack.alerts
    assert "BLOCK: 10 (before: 10)" in alert.notes
    assert "WARN: 10 (before: 10)" in alert.notes


def test_one_message_asks_for_no_more_than_it_has_time_for():
    place = Place()
    for number in range(MOST_AT_ONCE + 1):
        place.image(number)
    place.put(waiver())
    place.spread(WaiversChanged())
    place.spread(place.sent.pop()[1])
    assert sum(queue == "scans" for queue, _, _ in place.sent) == MOST_AT_ONCE
    assert place.sent[-1][1].after is not None


def test_duplicates_and_late_messages_do_no_harm():
    place = Place()
    place.image(1)
    place.put(waiver())
    place.spread(WaiversChanged())
    (_, first, _) = place.sent.pop()
    for _ in range(2):
        place.spread(first)
    while place.sent:
        queue, message, _ = place.sent.pop(0)
        if queue == "sweeps":
            place.spread(message)
    place.spread(first)
    assert not place.sent
    assert len(place.slack.alerts) == 1
    assert len(place.records) == 1


def test_what_a_dead_worker_left_is_found_by_the_clock():
    """Died after the waiver was put: neither recorded nor sent."""
    place = Place()
    image = place.image(1)
    place.put(waiver())
    assert place.run() == [image.ref, image.ref]
    assert [r.effect for r in place.records] == ["WAIVE#1"]


def test_a_sweep_whose_message_was_lost_is_begun_again_but_not_too_soon():
    place = Place()
    image = place.image(1)
    place.put(waiver())
    place.spread(WaiversChanged())
    place.sent.clear()
    assert place.run() == []
    place.moment += LOST_AFTER
    assert place.run() == [image.ref, image.ref]


def test_a_channel_that_fails_makes_nobody_walk_again_and_is_tried_later():
    place = Place()
    place.image(1)
    place.put(waiver())
    place.slack.broken = True
    with pytest.raises(TransientError):
        place.run()
    place.sent.clear()
    pages, place.slack.broken = place.queries.pages, False
    place.moment += LOST_AFTER
    place.run()
    assert (len(place.slack.alerts), place.queries.pages) == (1, pages)
    assert place.waivers.changes() == ()


def test_a_waiver_that_touches_nothing_says_so():
    place = Place()
    place.put(waiver())
    assert place.run() == []
    (alert,) = place.slack.alerts
    assert "It touches no image that is known now." in alert.notes
    assert alert.title == "Waiver given: CVE-2026-0001 in team/*"
    assert alert.what_to_do == (f"To end it: lazaretto unwaive {waiver().id} --reason WHY",)


def test_only_routes_of_its_repository_hear_of_a_waiver_without_wildcards():
    place = Place({"notify": [{"channel": "slack", "repository": ["prod/*"]}]})
    place.put(waiver(repository="team/api"))
    place.run()
    assert not place.slack.alerts
    place.put(waiver(repository="prod/api"))
    place.put(waiver(repository="team/*"))
    place.run()
    assert [a.title for a in place.slack.alerts] == ["2 waivers changed"]


# ---- none is missed

IDS = [f"CVE-2026-{n:04d}" for n in range(4)] + ["GHSA-aaaa", "GHSA-bbbb"]
RULES = [
    {"id": "high", "match": {"severity": {"gte": "HIGH"}}, "decision": "block"},
    {"id": "ssl", "match": {"package": "openssl"}, "decision": "warn"},
    {"id": "prod", "match": {"repository": "prod/*"}, "decision": "warn"},
    {"id": "gone", "match": {"status": "RESOLVED"}, "decision": "warn"},
    {"id": "many", "match": {"severity": "HIGH"}, "count": {"gte": 2}, "decision": "quarantine"},
]
REPOSITORIES = ["team/api", "team/web", "prod/api"]
findings = st.builds(
    Finding,
    st.sampled_from(IDS[:4]),
    st.sampled_from([Severity.HIGH, Severity.LOW]),
    st.just("x"),
    st.just(Source.ENHANCED),
    st.uuids().map(str),
    status=st.sampled_from([FindingStatus.OPEN, FindingStatus.OPEN, FindingStatus.SUPPRESSED, FindingStatus.RESOLVED]),
    packages=st.sampled_from([(), (Package("openssl"),), (Package("zlib"), Package("openssl"))]),
    related_ids=st.sampled_from([(), ("GHSA-aaaa",), ("GHSA-bbbb", "CVE-2026-0003")]),
)
images = st.lists(st.tuples(st.sampled_from(REPOSITORIES), st.lists(findings, max_size=3)), min_size=1, max_size=6)
excuses = st.one_of(
    st.fixed_dictionaries(
        {"vulnerability_id": st.sampled_from(IDS), "package": st.sampled_from([None, "openssl", "*"])}
    ),
    st.fixed_dictionaries({"vulnerability_id": st.none(), "rule": st.sampled_from([r["id"] for r in RULES])}),
    st.fixed_dictionaries({"vulnerability_id": st.sampled_from(IDS), "rule": st.sampled_from(["high", "many"])}),
)
wishes = st.builds(
    lambda said, repository, days: waiver(days=days, repository=repository, **said),
    excuses,
    st.sampled_from(["*", "team/*", "prod/api", "none"]),
    st.sampled_from([1, 30]),
)


@given(images, st.lists(wishes, max_size=3), wishes, st.sampled_from(["given", "changed", "ended"]), st.integers(0, 31))
@settings(max_examples=250, deadline=None)
def test_every_image_whose_verdict_changes_is_asked_to_be_decided(some, standing, one, what, rules):
    """Against the decision itself: whoever would be decided otherwise after the change is among those that are asked.
    A wrong hit is harmless; so is that an image excused already does not name one more waiver for a rule at once."""
    place = Place({"rules": [r for n, r in enumerate(RULES) if rules >> n & 1]})
    standing = [w for w in standing if w.id != one.id]
    former = None if what == "given" else one
    after = None if what == "ended" else msgspec.structs.replace(one, expires_at=NOW + timedelta(days=7))
    before_waivers = [*standing, *([former] if former else [])]
    after_waivers = [*standing, *([after] if after else [])]
    changed = set()
    for number, (repository, found) in enumerate(some):
        header = Header(
            ref=ImageRef("111122223333", "eu-west-1", repository, f"sha256:{number:064x}"),
            version=1,
            exists=True,
            pushed_at=NOW,
            refreshed_at=NOW,
            scan=Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW),
            sketch=sketch_of(found),
        )
        outcomes = [decide(header.state(), found, place.policy, w, NOW) for w in (before_waivers, after_waivers)]
        verdicts = [o.verdict for o in outcomes]
        place.headers.append(msgspec.structs.replace(header, verdict=verdicts[0]))
        only_named = what == "given" and one.vulnerability_id is None and verdicts[0].decision is Decision.ALLOW
        if outcomes[0] != outcomes[1] and not (only_named and verdicts[1].decision is Decision.ALLOW):
            changed.add(header.ref)
    if former is not None:
        place.waivers.stored[former.id] = former
    place.waivers.put(WaiverChange(former=former, waiver=after, by="person:oncall", at=NOW))
    place.put(waiver(repository="unrelated", vulnerability_id="CVE-1999-0001"))
    assert changed <= set(place.run())


# ---- the whole way, with the clock


def test_the_clock_finishes_what_a_worker_left_half_done():
    story = Story()
    story.waivers.put(WaiverChange(former=None, waiver=waiver(story.moment), by="person:oncall", at=story.moment))
    story.put("sweeps", WatchWaivers())
    story.drain()
    assert story.head.decision is Decision.ALLOW
    assert [r.effect for r in story.stored.actions[f"waiver/{waiver().id}"]] == ["WAIVE#1", "ALERT#1#slack"]


def test_a_decide_for_an_image_that_is_gone_is_nothing():
    story = Story()
    ref = msgspec.structs.replace(story.ref, digest=f"sha256:{'f' * 64}")
    assert receive_batch([Delivery("1", Decide(ref, "waiver", quiet=True))], story) == {}  # type: ignore[arg-type]
