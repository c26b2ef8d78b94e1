"""What a what-if says as of now is what applying the policy then really decides: for every image, on DynamoDB too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.context import AppContext
from chalicelib.domain.events.message import Act, Decide, WhatIf
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.whatif.report import WhatIfReport
from chalicelib.services.policy import evaluate_shard
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.policy.start_what_if import read_what_if, start_what_if
from chalicelib.settings import Settings
from tests.extent import Extent, with_seeds
from tests.fakes.moto_aws import mock_aws
from tests.services.judged import FIRST, NOW, STRICT, Judged, JudgedContext, Queues

REGION = "eu-west-1"
IMAGES, ON_DYNAMODB = 200, 60
TAGGED = """
version: 1
rules:
  - {id: tagged, match: {tag: ["v3*", "latest"], severity: {gte: HIGH}}, decision: quarantine}
  - {id: running, match: {in_use: true, epss: {gte: 0.5}}, decision: block}
  - {id: old, match: {pushed_days: {gte: 20}}, decision: warn}
"""
SUMMED = STRICT + "notify: [{channel: sns, min_decision: warn}]\n"


class KnowsNothing:
    def known_exploited(self, finding_ids: Any) -> dict[str, bool]:
        return {}


class MotoContext(AppContext):
    """As deployed, but for its clock, its queues and Inspector."""

    def __init__(self) -> None:
        session = boto3.Session("x", "x", region_name=REGION)
        create_table(session.client("dynamodb"), "lazaretto-test")
        urls = dict.fromkeys(("queue_scans", "queue_actions", "queue_sweeps"), "https://sqs.invalid/x")
        super().__init__(Settings(table="lazaretto-test", **urls), Sessions(session=session))
        self.clock: Any = type("Clock", (), {"now": staticmethod(lambda: NOW)})()
        self.__dict__ |= {"outbox": Queues(), "scanner": KnowsNothing()}


@pytest.fixture(params=["fake", "dynamodb"])
def judged(request: pytest.FixtureRequest) -> Iterator[Judged]:
    if request.param == "fake":
        yield Judged(JudgedContext())
        return
    with mock_aws():
        yield Judged(MotoContext())


@pytest.fixture
def fake() -> Judged:
    return Judged(JudgedContext())


def asked(judged: Judged, text: str) -> WhatIfReport:
    job = start_what_if(read_policy(text), 30, "oncall", judged.context)
    judged.pump(WhatIf)
    report = read_what_if(job.id, judged.context)
    assert report.done
    return report


def waive(judged: Judged) -> None:
    """A flaw everywhere, one in some repositories, rules of the candidates; and one that is over."""
    judged.waive("*", "CVE-2026-0001")
    judged.waive("team-1*", "CVE-2026-0002", rule="overdue")
    judged.waive("team-2/api", None, rule="many")
    judged.waive("*", None, rule="old")
    judged.waive("*", "CVE-2026-0003", days=1)


def test_as_of_now_it_says_what_applying_then_decides(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    waive(judged)
    refs = compare(judged, STRICT, monkeypatch)
    verdicts = [h.verdict for h in judged.headers(refs).values() if h.verdict is not None]
    assert {v.decision for v in verdicts} == set(Decision)
    assert {rule for v in verdicts for rule in (r.rule for r in v.reasons)} >= {"stale", "unscanned", "child", "many"}
    assert any(reason.waived for v in verdicts for reason in v.reasons)


@with_seeds(range(2, 7))
def test_so_it_does_where_tags_and_use_and_the_clock_decide(
    fake: Judged, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waive(fake)
    compare(fake, TAGGED, monkeypatch, seed)


def compare(judged: Judged, candidate: str, monkeypatch: pytest.MonkeyPatch, seed: int = 1) -> list[ImageRef]:
    monkeypatch.setattr(evaluate_shard, "PAGE_IMAGES", 11)
    monkeypatch.setattr(evaluate_shard, "ROWS_OF_PART", IMAGES)
    apply_policy(FIRST, "oncall", judged.context)
    refs = judged.fill(IMAGES if isinstance(judged.context, JudgedContext) else ON_DYNAMODB, seed)
    judged.carry_policy()
    before, headers = judged.decisions(refs), judged.headers(refs)

    report = asked(judged, candidate)

    assert judged.headers(refs) == headers, "a what-if changed a header"
    apply_policy(candidate, "oncall", judged.context)
    judged.carry_policy()
    after = judged.decisions(refs)
    assert report.tally.images == len(before) == len(after) > len(refs) * 0.85
    assert report.tally.unreadable == report.rows_left_out == 0
    assert report.tally.today == Counter(before.values())
    assert report.tally.candidate == Counter(after.values())
    moved = Counter(f"{before[ref]}>{after[ref]}" for ref in before if before[ref] is not after[ref])
    assert report.tally.moves == moved
    assert sum(moved.values()) > len(refs) / 10
    said = {row.ref: (row.today.decision, row.candidate.decision) for row in report.rows}
    for ref in before:
        closed = before[ref].closes_doors or after[ref].closes_doors
        if before[ref] is not after[ref] or closed:
            assert said[ref] == (before[ref], after[ref]), ref
        else:
            assert said.get(ref, (before[ref],) * 2) == (before[ref], after[ref]), ref
    return refs


def test_the_reason_given_is_the_one_the_verdict_then_has(fake: Judged) -> None:
    refs = fake.fill(60)
    report = asked(fake, STRICT)
    apply_policy(STRICT, "oncall", fake.context)
    fake.carry_policy()
    headers = fake.headers(refs)
    assert report.rows
    for row in report.rows:
        verdict = headers[row.ref].verdict
        assert verdict is not None
        if verdict.reasons:
            first = verdict.reasons[0]
            assert (row.candidate.rule, row.candidate.count) == (first.rule, first.count)
            assert row.candidate.vulnerability_ids == first.vulnerability_ids


def test_messages_of_the_fan_out_that_were_lost_are_sent_again_until_no_image_lags(fake: Judged) -> None:
    refs = fake.fill(40)
    report = asked(fake, STRICT)
    apply_policy(STRICT, "oncall", fake.context)
    lost = iter(range(10_000))
    sent = fake.context.outbox.send
    fake.context.outbox.send = lambda queue, message, delay_seconds=0: (
        None if isinstance(message, Decide) and next(lost) % 3 == 0 else sent(queue, message, delay_seconds)
    )
    assert fake.carry_policy() > 2
    assert Counter(fake.decisions(refs).values()) == report.tally.candidate


class Cut(Exception):
    """A worker that died."""


class Mortal:
    """What is called through it dies at the `at`-th call of all, before or after the call had its effect."""

    def __init__(self, judged: Judged, at: int, *, done: bool) -> None:
        self.left, self.done, self.context = at, done, judged.context
        self.parts = {name: getattr(judged.context, name) for name in ("table", "rules", "outbox", "queries")}
        for name, part in self.parts.items():
            setattr(judged.context, name, _Watched(part, self))

    def call(self, method: Any, args: Any, options: Any) -> Any:
        self.left -= 1
        if self.left == 0 and not self.done:
            raise Cut
        answer = method(*args, **options)
        if self.left == 0:
            raise Cut
        return answer

    def heal(self) -> bool:
        """Nobody dies any more. Whether somebody did."""
        for name, part in self.parts.items():
            setattr(self.context, name, part)
        return self.left <= 0


class _Watched:
    def __init__(self, part: Any, mortal: Mortal) -> None:
        self._part, self._mortal = part, mortal

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return (lambda *args, **options: self._mortal.call(found, args, options)) if callable(found) else found


@pytest.mark.parametrize("done", [False, True])
def test_whoever_dies_at_whatever_step_the_clock_carries_the_policy_to_every_image(done: bool, extent: Extent) -> None:
    """Applying, each run of the clock and each decision, cut off at every call in turn, then run again."""
    for at in extent.calls(range(1, 1_000)):
        judged = Judged(JudgedContext())
        refs = judged.fill(6)
        expected = Counter(asked(judged, SUMMED).tally.candidate)
        mortal = Mortal(judged, at, done=done)
        try:
            apply_policy(SUMMED, "oncall", judged.context)
            judged.carry_policy()
        except (Cut, AssertionError):
            pass
        died = mortal.heal()
        apply_policy(SUMMED, "oncall", judged.context)
        judged.carry_policy()
        shown = judged.decisions(refs)
        assert Counter(shown.values()) == expected, at
        assert {h.policy_version for ref, h in judged.headers(refs).items() if ref in shown} == {1}, at
        assert [record.after for record in judged.context.table.actions["policy"]] == ["policy 1"], at
        told = [alert.event for alert in judged.told.alerts]
        assert told == ["summary"] or (died and told == ["summary", "summary"]), at
        assert not alerts(judged), at
        if not died:
            break
    assert 30 < at < 990


def test_a_verdict_that_stays_keeps_the_policy_that_made_it_and_is_not_told_again(fake: Judged) -> None:
    refs = fake.fill(60)
    apply_policy(STRICT, "oncall", fake.context)
    fake.carry_policy()
    first = fake.headers(refs)
    again = STRICT.replace("count: {gte: 3}", "count: {gte: 4}")
    apply_policy(again, "oncall", fake.context)
    fake.context.at += timedelta(seconds=1)
    fake.carry_policy()
    stayed = changed = 0
    for ref, header in fake.headers(refs).items():
        if ref not in fake.decisions(refs):
            continue
        assert header.policy_version == 2
        assert header.verdict is not None
        if header.verdict.same_as(first[ref].verdict):
            assert header.verdict == first[ref].verdict
            assert header.verdict.policy_version < 2
            stayed += 1
        else:
            assert header.verdict.policy_version == 2
            changed += 1
    assert min(stayed, changed) > 5
    assert not alerts(fake)
    assert not fake.told.alerts


def alerts(judged: Judged) -> list[Act]:
    """Those on their way to people, one for each verdict. Acts are another thing: they are held and wait."""
    return [act for act in judged.context.outbox.of(Act) if act.effect.startswith(ActionType.ALERT)]
