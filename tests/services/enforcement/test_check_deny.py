"""The Deny and what others do to the repository's policy: what is gone is found gone, and put again where wanted."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.fuse import Fuse, FuseSlot
from chalicelib.domain.enforcement.repository_policy import (
    canonical,
    has_statement,
    stands,
    with_statement,
    without_statement,
)
from chalicelib.domain.events.event import ApiCall
from chalicelib.domain.events.message import CheckDeny, WatchDenies
from chalicelib.domain.headers.pending_action import ActionType, Holding
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Repository
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.enforcement.check_deny import watch_repository
from chalicelib.services.enforcement.give_order import release_image
from chalicelib.services.handlers.receive_acts import receive_acts
from chalicelib.services.ports.table import DeniedDigests
from tests.fakes.policies import statement
from tests.services.enforcement.test_enforce_verdict import Acting
from tests.services.world import new_ref
from tests.services.world_acts import WorldActs

RULES = [{"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "block", "enforce": "repository-policy"}]
THEIRS = json.dumps({"Version": "2012-10-17", "Statement": [statement("LetTeamPull")]})
INTRUDER = "arn:aws:iam::111122223333:role/intruder"
OUR_ROLE = "arn:aws:iam::111122223333:role/lazaretto-on-actions"
WE = "arn:aws:sts::111122223333:assumed-role/lazaretto-on-actions/lazaretto-dev-on_actions"


class Heard(WorldActs):
    """CloudTrail tells of our own writes as well. `gone`: repositories that are not there."""

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.gone: set[Repository] = set()

    def read_policy(self, repository: Repository) -> str | None:
        if repository in self.gone:
            raise AbsentError("repository", f"{repository.path} is not there")
        return super().read_policy(repository)

    def write_policy(self, repository: Repository, text: str) -> None:
        super().write_policy(repository, text)
        self._told("SetRepositoryPolicy", repository)

    def delete_policy(self, repository: Repository) -> None:
        super().delete_policy(repository)
        self._told("DeleteRepositoryPolicy", repository)

    def _told(self, name: str, repository: Repository) -> None:
        self.calls.append((name, repository.image("sha256:" + "0" * 64), ""))
        self.world.deliver(call(self.world, name, repository, WE))


def call(world: Any, name: str, repository: Repository, actor: str = "arn:aws:iam::111122223333:role/ci") -> ApiCall:
    at, role = world.moment.replace(microsecond=0), OUR_ROLE if actor == WE else None
    return ApiCall(name, "111122223333", "eu-west-1", actor, at, "event", repository=repository, role=role)


class Denying(Acting):
    """The repository denies pulls because of the one image."""

    def __init__(self, **policy: Any) -> None:
        super().__init__(rules=RULES, **policy)
        self.acts = Heard(self)
        self.worsen().wait_for(minutes=30)
        assert self.head.denied
        assert self.stands

    @property
    def home(self) -> Repository:
        return self.ref.home

    @property
    def stands(self) -> bool:
        return has_statement(self.acts.policies.get(self.home))

    @property
    def stands_whole(self) -> bool:
        return stands(self.acts.policies.get(self.home), self.own_roles)

    @property
    def digests(self) -> tuple[str, ...]:
        return self.stored.read_denied(self.home).digests

    @property
    def alarms(self) -> list[Any]:
        return [alert for alert in self.told if alert.event == "tampering"]

    def turn(self) -> Denying:
        """The clock comes once; no event tells of anything."""
        self.moment += timedelta(minutes=5)
        self.put("sweeps", WatchDenies())
        self.drain()
        return self

    def tamper(self) -> Denying:
        """The Deny stays there by name, and lets one more role pull."""
        text = self.acts.policies[self.home]
        own = f'"{self.own_roles[0]}"'
        assert own in text
        return self.replace(text.replace(own, f'{own},"{INTRUDER}"'))

    @property
    def writes_of_policy(self) -> list[str]:
        return [name for name, _, _ in self.acts.calls if name.endswith("RepositoryPolicy")]

    def replace(self, text: str | None) -> Denying:
        """Somebody writes the repository's policy, or deletes it (None), and nobody tells of it."""
        self.acts.policies.pop(self.home, None)
        if text is not None:
            self.acts.policies[self.home] = text
        return self

    def hear(self, name: str) -> Denying:
        self.moment += timedelta(minutes=5)
        self.receive(call(self, name, self.home))
        self.drain()
        return self

    def observe(self) -> Denying:
        self.change_policy(rules=RULES, mode="observe", quarantine={"when_running": "alert"})
        self.drain()
        return self

    def add_another(self) -> Any:
        """Another image of the same repository, as bad."""
        other = self.add(self.home.image(new_ref().digest))
        other.change(scanner=self.one.current.scanner)
        self.receive(other.action("PUSH", tag="v2"))
        other.scanned()
        other.flaw(1, severity=Severity.CRITICAL)
        self.receive(other.scanned())
        self.drain()
        return other


@pytest.mark.parametrize(("left", "name"), [(None, "DeleteRepositoryPolicy"), (THEIRS, "SetRepositoryPolicy")])
def test_a_deny_that_somebody_took_out_is_put_again_and_recorded(left: str | None, name: str) -> None:
    story = Denying().replace(left)
    assert story.head.denied, "nobody has heard of it"
    story.hear(name)
    assert (story.head.denied, story.stands, story.digests) == (True, True, (story.ref.digest,))
    assert story.acts.policies[story.home] == with_statement(left, story.own_roles)
    assert story.records == ["BLOCK", "BLOCK"]
    record = story.stored.actions[story.ref][-2]
    assert (record.kind, record.actor, record.before) == ("BLOCK", "rule:critical", left or "no repository policy")
    assert "pulls" in story.titles[-1]


def test_what_is_put_again_leaves_with_its_release_and_what_they_wrote_stays() -> None:
    story = Denying().replace(THEIRS).hear("SetRepositoryPolicy")
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert (story.head.denied, story.digests) == (False, ())
    assert json.loads(story.acts.policies[story.home]) == json.loads(THEIRS)


def test_our_own_writes_are_heard_and_lead_nowhere() -> None:
    story = Denying()
    assert story.writes_of_policy == ["SetRepositoryPolicy"]
    before = story.head
    story.forget()
    story.hear("SetRepositoryPolicy").wait_for(minutes=30)
    assert (story.head, story.records, story.writes_of_policy) == (before, ["BLOCK"], ["SetRepositoryPolicy"])
    assert "put_header" not in story.writes
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert story.writes_of_policy == ["SetRepositoryPolicy", "DeleteRepositoryPolicy"]
    assert story.records == ["BLOCK", "ORDER_RELEASE", "UNBLOCK"]


def test_a_policy_that_was_replaced_around_our_statement_is_left_alone() -> None:
    story = Denying()
    before, text = story.head, with_statement(THEIRS, story.own_roles)
    story.replace(text).hear("SetRepositoryPolicy")
    assert (story.head, story.records) == (before, ["BLOCK"])
    assert story.acts.policies[story.home] == text


def test_where_nothing_is_denied_nobody_reads_a_policy() -> None:
    story = Acting()
    for name in ("CreateRepository", "SetRepositoryPolicy", "DeleteRepositoryPolicy"):
        story.receive(call(story, name, story.ref.home))
    assert story.sent(CheckDeny) == []


def test_a_call_that_does_not_touch_the_policy_or_failed_has_nothing_checked() -> None:
    story = Denying()
    failed = call(story, "DeleteRepositoryPolicy", story.home)
    refused = ApiCall(failed.name, failed.account, failed.region, None, failed.time, "e", story.home, "AccessDenied")
    story.receive(refused, call(story, "PutImageTagMutability", story.home))
    assert story.sent(CheckDeny) == []


def test_observing_puts_nothing_again_and_says_that_nothing_is_denied() -> None:
    story = Denying().observe().replace(None).hear("DeleteRepositoryPolicy")
    assert (story.head.denied, story.digests, story.acts.policies) == (False, (), {})
    assert story.held == Holding.OBSERVE
    assert story.records == ["BLOCK", "WOULD_BLOCK"]
    story.change_policy(rules=RULES)
    story.drain()
    assert (story.head.denied, story.stands) == (True, True)


def test_what_began_to_run_while_the_deny_was_out_is_not_broken() -> None:
    story = Denying().replace(None)
    story.runtime.run(story.ref, "ECS service web in cluster prod (2 tasks)")
    story.hear("DeleteRepositoryPolicy")
    assert (story.head.denied, story.stands, story.held) == (False, False, Holding.RUNNING)
    story.runtime.stop(story.ref)
    story.wait_for(minutes=20)
    assert (story.head.denied, story.stands) == (True, True)


def test_a_deny_put_again_takes_nothing_more_away_and_after_an_hour_counts_for_the_fuse_again() -> None:
    story = Denying(quarantine={"max_per_hour": 1})
    story.replace(None).hear("DeleteRepositoryPolicy")
    assert (story.head.denied, story.stands) == (True, True)
    story.wait_for(minutes=65)
    story.stored.fuse = Fuse((FuseSlot("another image", story.moment),), blown_at=story.moment)
    story.replace(None).hear("DeleteRepositoryPolicy")
    assert (story.head.denied, story.stands, story.held) == (False, False, Holding.FUSE)


def test_with_two_denied_images_both_count_again_and_the_deny_leaves_with_the_last() -> None:
    story = Denying()
    other = story.add_another()
    assert set(story.digests) == {story.ref.digest, other.ref.digest}
    story.replace(None).hear("DeleteRepositoryPolicy")
    assert story.stands
    assert set(story.digests) == {story.ref.digest, other.ref.digest}
    assert story.head.denied
    assert story.header(other.ref).denied
    for ref, left in ((story.ref, True), (other.ref, False)):
        release_image(ref, "oncall", "needed", story)
        story.drain()
        assert (story.header(ref).denied, story.stands) == (False, left)
        assert ("still denies all pulls because of others" in story.told[-1].title) is left


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_deleted_repository_denies_nothing_and_neither_does_one_made_anew(mode: str) -> None:
    story = Denying()
    other = story.add_another()
    if mode == "observe":
        story.observe()
    story.replace(None).acts.gone.add(story.home)
    for image in (story.one, other):
        image.change(exists=False, tags=())
    story.hear("DeleteRepository")
    for ref in (story.ref, other.ref):
        assert (story.header(ref).denied, story.header(ref).exists, story.header(ref).act) == (False, False, None)
    assert story.digests == ()
    story.acts.gone.clear()
    story.hear("CreateRepository").wait_for(hours=2)
    assert (story.acts.policies, story.digests) == ({}, ())


def test_a_repository_made_anew_denies_nothing_though_nobody_heard_that_the_former_was_deleted() -> None:
    story = Denying().replace(None)
    story.one.change(exists=False, tags=())
    story.hear("CreateRepository").wait_for(hours=2)
    assert (story.head.denied, story.digests, story.acts.policies) == (False, (), {})


def test_an_image_pushed_to_the_repository_made_anew_is_denied_anew() -> None:
    story = Denying().replace(None)
    story.one.change(exists=False, tags=())
    story.hear("DeleteRepository").hear("CreateRepository")
    assert story.acts.policies == {}
    story.moment += timedelta(minutes=5)
    story.one.change(exists=True, tags=("v1",))
    story.receive(story.one.action("PUSH", tag="v1"))
    story.drain()
    assert (story.head.denied, story.stands) == (True, True)


def test_the_clock_finds_what_no_event_told() -> None:
    story = Denying().replace(None).wait_for(minutes=30)
    assert story.head.denied, "nothing was due"
    story.wait_for(days=31)
    assert (story.head.denied, story.stands, story.records) == (True, True, ["BLOCK", "BLOCK"])


@pytest.mark.parametrize("error", [DeniedError("AccessDenied"), UpstreamError("500")])
def test_a_policy_that_cannot_be_read_changes_nothing_and_is_told_once_a_day(error: Exception) -> None:
    story = Denying().replace(None)
    before = story.head

    def refuse(_: Any) -> None:
        raise error

    story.acts.read_policy = refuse
    for _ in range(3):
        assert not receive_acts([story.delivery(CheckDeny(story.ref))], story)  # type: ignore[arg-type]
    assert (story.head, story.digests) == (before, (story.ref.digest,))
    story.drain()
    (alert,) = story.alarms
    assert str(error) in alert.notes[0]


def test_what_only_needs_time_is_put_back() -> None:
    story = Denying().replace(None)
    right = story.acts.read_policy

    def throttled(_: Any) -> None:
        raise TransientError("throttled")

    story.acts.read_policy = throttled
    assert not receive_acts([story.delivery(CheckDeny(story.ref))], story)  # type: ignore[arg-type]
    assert story.sent(CheckDeny) == [CheckDeny(story.ref, attempt=1)]
    story.acts.read_policy = right
    story.drain()
    assert story.stands


def test_a_deny_that_is_gone_is_put_again_within_one_turn_of_the_clock() -> None:
    story = Denying().replace(THEIRS).turn()
    assert (story.head.denied, story.stands, story.digests) == (True, True, (story.ref.digest,))
    assert story.acts.policies[story.home] == with_statement(THEIRS, story.own_roles)
    assert story.records == ["BLOCK", "BLOCK"]


def test_a_deny_that_lets_one_more_role_pull_is_put_right_within_one_turn_recorded_and_told() -> None:
    story = Denying()
    right = story.acts.policies[story.home]
    story.tamper().turn()
    assert story.acts.policies[story.home] == right
    assert (story.head.denied, story.digests) == (True, (story.ref.digest,))
    (alert,) = story.alarms
    assert "put it right at" in alert.notes[1]
    (record,) = [r for r in story.stored.actions[f"repository/{story.home.path}"] if r.kind == "BLOCK"]
    assert (record.actor, record.after) == ("system", right)
    assert INTRUDER in record.before


def test_a_clock_turn_without_a_change_reads_once_for_each_repository_and_writes_nothing() -> None:
    story = Denying()
    story.add_another()
    story.turn().forget()
    reads: list[Repository] = []
    right = story.acts.read_policy
    story.acts.read_policy = lambda home: (reads.append(home), right(home))[1]
    story.turn()
    assert reads == [story.home]
    assert not story.writes


def test_one_turn_puts_the_deny_again_for_every_image_of_the_repository() -> None:
    story = Denying()
    other = story.add_another()
    story.replace(None).turn()
    assert story.stands
    assert set(story.digests) == {story.ref.digest, other.ref.digest}
    assert story.head.denied
    assert story.header(other.ref).denied
    assert len(story.stored.read_denied(story.home).corrected_at) == 1, "one correction, however many images"


def test_a_deny_of_an_earlier_version_is_found_by_the_clock_after_one_reconcile() -> None:
    story = Denying()
    story.stored.denied[story.home] = DeniedDigests((story.ref.digest,))
    watch_repository(story.home, story)  # type: ignore[arg-type]
    story.drain()
    assert story.stored.read_denied(story.home).listed
    assert story.stands_whole


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_after_two_corrections_within_a_day_people_are_told_and_there_is_no_fight(how: str) -> None:
    story = Denying()
    for _ in range(2):
        (story.tamper() if how == "changed" else story.replace(THEIRS)).turn()
        assert story.stands_whole
    told = len(story.alarms)
    for n in range(6):
        (story.tamper() if how == "changed" and n == 0 else story.replace(THEIRS) if how == "gone" else story).turn()
        assert not story.stands_whole
    assert len(story.alarms) == told + 1
    assert "left to people" in story.alarms[-1].notes[1]
    story.wait_for(hours=23).turn()
    assert not story.stands_whole
    story.wait_for(hours=1, minutes=10).turn()
    story.wait_for(hours=1).turn()
    assert story.stands_whole, "a day after the first two"


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_observing_changes_nothing_and_tells(how: str) -> None:
    story = Denying().observe()
    (story.tamper() if how == "changed" else story.replace(None)).turn().turn()
    assert not story.stands_whole
    (alert,) = story.alarms
    assert "only observes" in alert.notes[1]
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert not story.stands, "a changed one leaves as well"


def test_what_aws_refuses_to_have_put_right_is_told() -> None:
    story = Denying().tamper()

    def refuse(*_: Any) -> None:
        raise DeniedError("no")

    story.acts.write_policy = refuse
    story.turn()
    (alert,) = story.alarms
    assert "could not be put right: no" in alert.notes[1]
    assert story.digests == (story.ref.digest,)


def test_a_deny_of_another_installation_is_no_deny_of_ours_and_stays() -> None:
    theirs = with_statement(None, ["arn:aws:iam::111122223333:role/lazaretto-elsewhere"])
    story = Denying().replace(theirs).turn()
    held = json.loads(story.acts.policies[story.home])["Statement"]
    assert held[0] == json.loads(theirs)["Statement"][0]
    assert story.stands_whole
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert story.acts.policies[story.home] == theirs


def test_while_the_deny_is_being_put_nothing_is_concluded_from_a_policy_that_is_on_its_way() -> None:
    """The digest counts before the statement is put: struck off in between, nobody would come for it."""
    story = Acting(rules=RULES)
    acts = story.acts = Heard(story)
    seen: list[Any] = []
    right = acts.write_policy

    def write(repository: Repository, text: str) -> None:
        if not seen:
            header, before = story.head, story.stored.read_denied(repository)
            assert header.begun is ActionType.BLOCK
            receive_acts([story.delivery(CheckDeny(story.ref))], story)  # type: ignore[arg-type]
            again = story.sent(CheckDeny)[-1:] == [CheckDeny(story.ref, attempt=1)]
            seen.append((story.head == header, story.stored.read_denied(repository) == before, again))
        right(repository, text)

    acts.write_policy = write  # type: ignore[method-assign]
    story.worsen()
    assert seen == [(True, True, True)]
    assert (story.head.denied, story.records) == (True, ["BLOCK"])


def test_a_deny_that_is_taken_out_before_its_worker_has_said_that_it_stands_is_put_again() -> None:
    story = Acting(rules=RULES)
    story.acts = Heard(story)
    right, taken = story.stored.record_action, []

    def record(record: Any) -> bool:
        if record.kind == "BLOCK" and not taken:
            taken.append(story.acts.policies.pop(story.ref.home))
            story.receive(call(story, "DeleteRepositoryPolicy", story.ref.home))
            receive_acts([story.delivery(CheckDeny(story.ref))], story)  # type: ignore[arg-type]
        return bool(right(record))

    story.stored.record_action = record
    story.worsen()
    assert taken
    assert (story.head.denied, story.records) == (True, ["BLOCK", "BLOCK"])
    assert has_statement(story.acts.policies[story.ref.home])


class Died(Exception):
    """A worker on its way."""


def test_one_that_was_struck_off_by_a_dead_worker_is_not_taken_for_denied_because_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Deny of the other would leave with that one, and nobody would come for the first."""
    story = Denying().replace(None)
    right = story.stored.change_denied

    def die(*arguments: Any) -> None:
        right(*arguments)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(story.stored, "change_denied", die)
        (died,) = receive_acts([story.delivery(CheckDeny(story.ref))], story).values()  # type: ignore[arg-type]
        assert isinstance(died, Died)
    other = story.add_another()
    assert (story.head.denied, story.stands, story.digests) == (True, True, (other.ref.digest,))
    assert not receive_acts([story.delivery(CheckDeny(story.ref), receives=2)], story)  # type: ignore[arg-type]
    story.wait_for(minutes=10)
    assert (story.head.denied, set(story.digests)) == (True, {story.ref.digest, other.ref.digest})
    release_image(other.ref, "oncall", "needed", story)
    story.drain()
    assert (story.head.denied, story.stands, story.digests) == (True, True, (story.ref.digest,))


@pytest.mark.parametrize("step", ["change_denied", "put_header", "send"])
def test_a_worker_that_dies_in_the_middle_is_followed_by_one_that_goes_on(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Denying().replace(None)
    place = story if step == "send" else story.stored
    right = getattr(place, step)

    def die(*arguments: Any, **named: Any) -> None:
        if step != "send":
            right(*arguments, **named)
        raise Died(step)

    with monkeypatch.context() as patched:
        patched.setattr(place, step, die)
        (died,) = receive_acts([story.delivery(CheckDeny(story.ref))], story).values()  # type: ignore[arg-type]
        assert isinstance(died, Died)
    assert (story.digests, story.stands) == ((), False)
    assert not receive_acts([story.delivery(CheckDeny(story.ref), receives=2)], story)  # type: ignore[arg-type]
    story.wait_for(minutes=10)
    assert (story.head.denied, story.stands, story.digests) == (True, True, (story.ref.digest,))
    assert story.records == ["BLOCK", "BLOCK"]


STEPS = st.lists(st.tuples(st.sampled_from(["gone", "replaced", "changed", "another", "nothing"]), st.integers(0, 13)))


@settings(max_examples=60, deadline=None)
@given(STEPS.filter(lambda steps: len(steps) < 12))
def test_whatever_others_do_within_days_theirs_is_kept_and_ours_is_put_right_twice_a_day(
    steps: list[tuple[str, int]],
) -> None:
    """Before each step so many hours pass; after each one the clock comes once."""
    story, corrected = Denying(), list[datetime]()
    anothers = with_statement(THEIRS, ["arn:aws:iam::111122223333:role/lazaretto-elsewhere"])
    for what, hours in steps:
        story.wait_for(hours=hours).turn()
        stood, theirs = story.stands_whole, without_statement(story.acts.policies.get(story.home), story.own_roles)
        corrected += story.stored.read_denied(story.home).corrected_at
        if what in ("gone", "replaced", "another"):
            theirs = {"gone": None, "replaced": THEIRS, "another": anothers}[what]
            story.replace(theirs)
        elif what == "changed" and stood:
            story.tamper()
        story.turn()
        corrected += story.stored.read_denied(story.home).corrected_at
        lately = {at for at in corrected if at > story.moment - timedelta(days=1)}
        assert len(lately) <= 2, "no fight"
        assert story.stands_whole or len(lately) == 2 or not stood, "put right within one turn, or left and told"
        assert canonical(without_statement(story.acts.policies.get(story.home), story.own_roles)) == canonical(theirs)
        if not story.stands_whole:
            assert story.alarms
