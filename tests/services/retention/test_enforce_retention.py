"""Retention, from the message to the last record: what goes, in which order, what is told, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.events.event import Action, ImageAction
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.events.sweep_message import TakeImages
from chalicelib.domain.images.image import InUseState, Repository, StorageStatus
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.retention.image import QUARANTINED, Guard, RetainedImage
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.handlers.receive_acts import receive_acts
from chalicelib.services.handlers.receive_sweeps import run_sweep
from chalicelib.services.retention.enforce_retention import take_images
from chalicelib.services.retention.plan_retention import plan_retention
from tests.fakes.registries import HOME, NOW, digest, repositories, retained, rules
from tests.services.retaining import MESSAGE, Retaining, replaced

NEWEST = {"keep": {"newest": 1}, "max_share": 1.0}


def three() -> list[RetainedImage]:
    return [retained(n, f"t{n}", days=n) for n in (1, 2, 3)]


def test_what_no_rule_keeps_is_deleted_recorded_and_gone_from_the_table() -> None:
    world = Retaining(three(), NEWEST)
    world.sweep()
    assert world.left == {digest(1)}
    assert {h.ref.digest for h in world.stored.headers.values() if h.exists} == {digest(1)}
    records = world.records("EXPIRE")
    assert {r.ref.digest for r in records if r.ref} == {digest(2), digest(3)}
    assert records[0].actor == "rule:retention[0]"
    assert "nothing of `keep` holds" in records[0].reason
    assert (records[0].before, records[0].after, records[0].undo) == ("there (t2)", "to be deleted", None)


def test_the_repository_keeps_what_came_of_the_last_run() -> None:
    world = Retaining(three(), NEWEST)
    world.sweep()
    kept = world.stored.repositories[HOME]
    assert kept["retention_at"] == NOW
    assert kept["retention"]["taken"] == 2
    assert kept["retention"]["images"] == 3


def test_archiving_can_be_undone_and_says_how() -> None:
    world = Retaining(three(), {**NEWEST, "action": "archive"})
    world.sweep()
    assert world.left == {digest(1), digest(2), digest(3)}
    archived = {d for d, row in world.keeper.rows.items() if row.storage is StorageStatus.ARCHIVED}
    assert archived == {digest(2), digest(3)}
    assert world.header(HOME.image(digest(2))).storage is StorageStatus.ARCHIVED
    records = world.records("ARCHIVE")
    assert [r.undo for r in records] == [f"lazaretto undo {action_id(r)} --reason undone" for r in records]


def test_an_index_goes_before_its_images_and_a_signature_before_what_it_signs() -> None:
    images = [
        retained(1, days=90),
        retained(2, "v1", days=9, contains=(digest(1),)),
        retained(3, days=8, subject=digest(2)),
        retained(4, "v2", days=1),
    ]
    world = Retaining(images, NEWEST)
    world.sweep()
    assert [d for _, d in world.keeper.log] == [digest(3), digest(2), digest(1)]


@pytest.mark.parametrize("changes", [{"mode": "observe"}, {"exempt": {"repository": "team/*"}}])
def test_who_only_observes_records_once_and_takes_nothing(changes: dict[str, Any]) -> None:
    world = Retaining(three(), NEWEST, **changes)
    world.sweep()
    world.sweep(msgspec.structs.replace(MESSAGE, started_at=NOW + timedelta(days=1)))
    assert world.left == {digest(1), digest(2), digest(3)}
    assert len(world.records("WOULD_EXPIRE")) == 2
    assert not world.records("EXPIRE")
    assert world.stored.repositories[HOME]["retention"]["observed"] is True


def test_too_many_stop_the_repository_with_one_alert() -> None:
    world = Retaining(three(), {**NEWEST, "max_share": 0.5})
    world.sweep()
    world.sweep()
    assert len(world.left) == 3
    assert not world.records("EXPIRE")
    assert [a.title for a in world.heard.alerts] == ["Retention stopped: team/api"]
    assert "2 of 3 images would go, more than max_share (0.5)" in world.heard.alerts[0].notes[0]
    assert len(world.records("RETENTION_STOPPED")) == 1


def test_what_ecr_does_not_delete_is_tried_twice_recorded_and_told() -> None:
    world = Retaining(three(), NEWEST)
    world.keeper.refused[digest(3)] = "KmsError: no"
    world.sweep()
    assert world.left == {digest(1), digest(3)}
    failed = world.records("EXPIRE_FAILED")
    assert [(r.reason, r.after) for r in failed] == [("KmsError: no", "there (t3)")]
    assert [a.title for a in world.heard.alerts] == ["Retention: 1 image could not be taken from team/api"]
    assert world.header(HOME.image(digest(3))).exists


def test_the_images_of_an_index_that_could_not_be_taken_are_not_tried() -> None:
    images = [retained(1, days=90), retained(2, "v1", days=9, contains=(digest(1),)), retained(3, "v2", days=1)]
    world = Retaining(images, NEWEST)
    world.keeper.refused[digest(2)] = "no"
    world.sweep()
    assert not world.keeper.log
    assert {r.reason for r in world.records("EXPIRE_FAILED")} == {"no", "what holds it could not be taken"}


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": ("t3", "prod")},
        {"pushed_at": NOW},
        {"storage": StorageStatus.ACTIVATING},
        {"last_pulled_at": NOW},
    ],
)
def test_one_that_changes_after_the_plan_stays(changes: dict[str, Any]) -> None:
    world = Retaining(three(), NEWEST)

    def meanwhile(call: str) -> None:
        if call == "describe":
            replaced(world, digest(3), **changes)

    world.keeper.before = meanwhile
    world.sweep()
    assert world.left == {digest(1), digest(3)}
    assert world.changed == {digest(3): "it has changed since the plan was made"}
    assert not world.records("EXPIRE_FAILED")
    assert not world.heard.alerts, "what is in use again is no failure"


def test_a_tag_that_comes_as_it_is_deleted_keeps_the_image() -> None:
    world = Retaining(three(), NEWEST)

    def meanwhile(call: str) -> None:
        if call == "delete" and "prod" not in world.keeper.rows[digest(3)].tags:
            replaced(world, digest(3), tags=("prod", "t3"))

    world.keeper.before = meanwhile
    world.sweep()
    assert world.left == {digest(1), digest(3)}
    assert world.keeper.rows[digest(3)].tags == ("prod",)
    assert [r.reason for r in world.records("EXPIRE_FAILED")] == ["its tag prod has come since, and keeps it"]
    assert world.header(HOME.image(digest(3))).exists


@pytest.mark.parametrize("action", ["expire", "archive"])
def test_nothing_is_called_once_the_policy_only_observes(action: str) -> None:
    world = Retaining([retained(n, f"t{n}", days=n) for n in range(1, 5)], {**NEWEST, "action": action})

    def meanwhile(call: str) -> None:
        if call == ("describe" if action == "expire" else "archive"):
            world.change_policy(retention=[{"repository": "team/*", **NEWEST, "action": action}], mode="observe")
            world.keeper.before = lambda call: None

    world.keeper.before = meanwhile
    world.sweep()
    assert len(world.keeper.log) == (0 if action == "expire" else 1)
    assert world.stored.repositories[HOME]["retention"]["observed"] is True


def test_one_whose_use_was_looked_up_too_long_ago_stays() -> None:
    world = Retaining(three(), NEWEST)

    def meanwhile(call: str) -> None:
        if call == "missing":
            world.moment += timedelta(minutes=15, seconds=1)

    world.keeper.before = meanwhile
    world.sweep()
    assert len(world.left) == 3
    assert set(world.changed.values()) == {"who runs it was looked up too long ago"}
    assert not world.heard.alerts


def test_tags_that_were_read_more_than_a_minute_ago_are_read_anew() -> None:
    world, waits = Retaining(three(), NEWEST), [61.0, 0.0]

    def meanwhile(call: str) -> None:
        if call == "describe" and waits:
            world.moment += timedelta(seconds=waits.pop(0))
            if not waits:
                replaced(world, digest(3), tags=("prod", "t3"))

    world.keeper.before = meanwhile
    world.sweep()
    assert world.left == {digest(1), digest(3)}


# ---- what keeps


def decided(world: Retaining, number: int, decision: Decision) -> None:
    ref = HOME.image(digest(number))
    verdict = Verdict(decision, (), 1, NOW)
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], verdict=verdict)


def test_the_newest_of_a_line_that_may_be_pulled_is_never_taken() -> None:
    """A blocked release is no reason to delete what people go back to."""
    images = [retained(n, f"v1.{9 - n}.0", days=n) for n in range(1, 5)] + [retained(5, "v0.1.0", days=5)]
    world = Retaining(images, NEWEST)
    for number, decision in ((1, "BLOCK"), (2, "WARN"), (3, "ALLOW"), (4, "ALLOW"), (5, "ALLOW")):
        decided(world, number, Decision(decision))
    world.sweep()
    assert world.left == {digest(1), digest(2), digest(5)}
    plan = plan_retention(HOME, world).plan  # type: ignore[arg-type]
    assert {(d.by, d.why) for d in plan.decisions if d.image.digest != digest(1)} == {
        ("line", "the newest of line v1 that is WARN"),
        ("line", "the newest of line v0 that is ALLOW"),
    }


@pytest.mark.parametrize("action", ["expire", "archive"])
def test_one_that_becomes_the_newest_to_be_pulled_after_the_plan_stays(action: str) -> None:
    world = Retaining(three(), {**NEWEST, "action": action})
    for number in (1, 2, 3):
        decided(world, number, Decision.ALLOW)

    def meanwhile(call: str) -> None:
        if call == "describe":
            decided(world, 1, Decision.BLOCK)

    world.keeper.before = meanwhile
    world.sweep()
    assert world.keeper.log == []
    assert set(world.changed) == {digest(2), digest(3)}
    assert not world.heard.alerts


def test_what_all_changed_is_no_deletion_of_nothing() -> None:
    world = Retaining(three(), NEWEST)

    def meanwhile(call: str) -> None:
        if call == "describe":
            for number in (2, 3):
                replaced(world, digest(number), last_pulled_at=NOW)

    world.keeper.before = meanwhile
    world.sweep()
    assert set(world.changed) == {digest(2), digest(3)}


@pytest.mark.parametrize("action", ["expire", "archive"])
def test_one_that_an_index_has_begun_to_hold_after_the_plan_stays(action: str) -> None:
    world, old = Retaining(three(), {**NEWEST, "action": action}), digest(3)

    def meanwhile(call: str) -> None:
        if call == "describe" and digest(9) not in world.keeper.rows:
            world.push(retained(9, "v9", days=0, contains=(old,)))
            header = world.stored.headers[HOME.image(old)]
            world.stored.headers[HOME.image(old)] = msgspec.structs.replace(header, parents=(digest(9),))

    world.keeper.before = meanwhile
    world.sweep()
    assert world.keeper.rows[old].storage is StorageStatus.ACTIVE
    assert world.changed == {old: "it has changed since the plan was made"}


def test_what_runs_stays_also_when_it_runs_by_its_index_or_by_its_platform() -> None:
    images = [
        retained(1, days=90),
        retained(2, "v1", days=9, contains=(digest(1),)),
        retained(3, "v0", days=12),
        retained(4, "v2", days=1),
    ]
    for running in (1, 2):
        world = Retaining(images, NEWEST)
        world.runtime.run(HOME.image(digest(running)))
        world.sweep()
        assert world.left == {digest(1), digest(2), digest(4)}


def test_what_may_run_stays() -> None:
    world = Retaining(three(), NEWEST)
    world.runtime.blind = ("EKS cannot be looked at",)
    world.sweep()
    assert len(world.left) == 3


def test_only_what_would_go_is_looked_up() -> None:
    world = Retaining([retained(n, f"t{n}", days=n) for n in range(1, 9)], {**NEWEST, "keep": {"newest": 6}})
    world.sweep()
    assert {s.ref.digest for s in world.runtime.asked} == {digest(7), digest(8)}


def test_many_are_looked_up_a_message_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 3)
    world = Retaining([retained(n, f"t{n}", days=n) for n in range(1, 10)], NEWEST)
    world.runtime.run(HOME.image(digest(2)))
    world.sweep()
    assert world.left == {digest(1), digest(2)}
    assert world.parts == 6, "three parts, each planned, and then taken"
    assert world.stored.repositories[HOME]["retention"]["taken"] == 7


def test_a_signature_is_not_parted_from_what_it_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 2)
    signed = [
        retained(9, "old", days=30),
        retained(1, days=30, subject=digest(9)),
        retained(2, days=30, subject=digest(1)),
    ]
    others = [retained(n, f"t{n}", days=20 - n) for n in (3, 4, 5)]
    world = Retaining([*signed, *others], NEWEST)
    world.sweep()
    assert world.left == {digest(5)}
    assert [d for _, d in world.keeper.log][-3:] == [digest(2), digest(1), digest(9)]


def test_what_stayed_in_an_earlier_part_does_not_count_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 2)
    world = Retaining([retained(n, f"t{n}", days=n) for n in range(1, 11)], {"keep": {"newest": 4}, "max_share": 0.6})
    for n in (5, 6, 7, 8):
        world.runtime.run(HOME.image(digest(n)))
    world.sweep()
    assert world.left == {digest(n) for n in range(1, 9)}
    assert not world.heard.alerts


def test_a_stopped_repository_sends_no_further_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 1)
    world = Retaining(three(), {**NEWEST, "max_share": 0.5})
    world.sweep()
    assert len(world.left) == 3
    assert world.parts == 1


@pytest.mark.parametrize("which", ["absent", "unknown"])
def test_what_has_no_replica_yet_stays(which: str) -> None:
    world = Retaining(three(), NEWEST)
    getattr(world.keeper, which).add(digest(2))
    world.sweep()
    assert world.left == {digest(1), digest(2)}


def test_replicas_that_cannot_be_looked_up_keep_everything() -> None:
    world = Retaining(three(), NEWEST)
    world.keeper.before = failing("missing", DeniedError("no"))
    world.sweep()
    assert len(world.left) == 3


def test_an_image_that_nobody_has_heard_of_stays() -> None:
    world = Retaining(three(), NEWEST)
    del world.stored.headers[HOME.image(digest(3))]
    world.sweep()
    assert world.left == {digest(1), digest(3)}


def test_what_a_waiver_in_force_excuses_stays_until_it_ends() -> None:
    world = Retaining(three(), NEWEST)
    ref = HOME.image(digest(3))
    reason = Reason("high", Decision.ALLOW, waived=("w-1",))
    verdict = Verdict(Decision.ALLOW, (reason,), 1, NOW)
    for newest in (HOME.image(digest(1)), ref):
        world.stored.headers[newest] = msgspec.structs.replace(world.stored.headers[newest], verdict=verdict)
    waiver = Waiver(
        id="w-1",
        repository="team/*",
        reason="needed",
        approved_by="b",
        expires_at=NOW + timedelta(days=1),
        created_at=NOW,
    )
    rules = msgspec.structs.replace(world.fresh(), waivers=(waiver,))
    plan = plan_retention(HOME, world, rules=rules).plan  # type: ignore[arg-type]
    assert [f.image.digest for f in plan.wanted] == [digest(2)]
    ended = msgspec.structs.replace(rules, waivers=(msgspec.structs.replace(waiver, expires_at=NOW),))
    plan = plan_retention(HOME, world, rules=ended).plan  # type: ignore[arg-type]
    assert {f.image.digest for f in plan.wanted} == {digest(2), digest(3)}


def test_an_order_given_after_the_headers_were_read_is_seen() -> None:
    """Headers are read page by page, eventually consistent; those of candidates once more, as they are."""
    world = Retaining(three(), NEWEST)
    stale = list(world.stored.headers.values())
    world.stored.headers_of = lambda repository: iter(stale)
    ref = HOME.image(digest(3))
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], denied=True)
    world.sweep()
    assert world.left == {digest(1), digest(3)}


def test_an_index_the_table_knows_is_not_read_again() -> None:
    images = [retained(1, days=90), retained(2, "v1", days=1, contains=(digest(1),))]
    world = Retaining(images, {**NEWEST, "untagged_after_days": 7})
    calls: list[str] = []
    world.keeper.before = calls.append
    world.sweep()
    assert "insides" not in calls
    assert len(world.left) == 2


def test_an_index_that_can_be_read_nowhere_keeps_everything() -> None:
    images = [*three(), retained(4, "v1", days=0, contains=None)]
    world = Retaining(images, NEWEST)
    world.sweep()
    assert len(world.left) == 4


def test_a_repository_without_a_rule_is_not_even_listed() -> None:
    world = Retaining(three(), {**NEWEST, "repository": "other/*"})
    world.keeper.before = failing("images", AssertionError("listed"))
    world.sweep()


def test_a_repository_that_is_gone_is_nothing_to_do() -> None:
    world = Retaining(three(), NEWEST)
    world.sweep(msgspec.structs.replace(MESSAGE, repository=Repository(HOME.registry, HOME.region, "team/gone")))
    assert len(world.left) == 3


def test_a_listing_that_fails_takes_nothing() -> None:
    world = Retaining(three(), NEWEST)
    world.keeper.before = failing("images", TransientError("throttled"))
    with pytest.raises(TransientError):
        world.sweep()
    assert len(world.left) == 3


def failing(name: str, error: BaseException) -> Callable[[str], None]:
    def fail(call: str) -> None:
        if call == name:
            raise error

    return fail


# ---- whatever the registry is, and wherever it dies


class Died(BaseException):
    """The function was stopped."""


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[RetainedImage], dict[str, Any], set[str]]:
    images = [image for image in draw(repositories(most=8)) if image.contains is not None]
    images = [_denied(image) for image in images if _is_whole(image, images)]
    rule: Retention = draw(rules())
    running = draw(st.sets(st.sampled_from([i.digest for i in images] or [digest(1)]), max_size=2))
    return images, msgspec.to_builtins(rule), running


def _denied(image: RetainedImage) -> RetainedImage:
    return image if image.guard is None else msgspec.structs.replace(image, guard=Guard(QUARANTINED, "denied"))


def _is_whole(image: RetainedImage, images: list[RetainedImage]) -> bool:
    """An index without its images is none."""
    return {*(image.contains or ())} <= {other.digest for other in images}


def world_of(case: tuple[list[RetainedImage], dict[str, Any], set[str]]) -> Retaining:
    images, said, running = case
    world = Retaining(images, {name: value for name, value in said.items() if name != "repository"})
    for one in running:
        world.runtime.run(HOME.image(one))
    return world


class Dying:
    """The table, each of whose calls is asked about before it is made."""

    def __init__(self, inner: Any, before: Callable[[str], None]) -> None:
        self._inner, self._before = inner, before

    def __getattr__(self, name: str) -> Any:
        self._before(name)
        return getattr(self._inner, name)


def state(world: Retaining) -> tuple[Any, ...]:
    rows = {d: (row.tags, row.storage) for d, row in world.keeper.rows.items()}
    headers = {r.digest: (h.exists, h.tags, h.storage) for r, h in world.stored.headers.items()}
    kinds = sorted((r.kind, r.ref.digest) for k in ("EXPIRE", "ARCHIVE") for r in world.records(k) if r.ref)
    return rows, headers, kinds


@settings(max_examples=150, deadline=None)
@given(cases())
def test_a_plan_is_what_an_apply_does(case: tuple[list[RetainedImage], dict[str, Any], set[str]]) -> None:
    world = world_of(case)
    plan = plan_retention(HOME, world).plan  # type: ignore[arg-type]
    world.sweep()
    assert not world.records("EXPIRE_FAILED") + world.records("ARCHIVE_FAILED")
    assert sorted(d for _, d in world.keeper.log) == sorted(f.image.digest for f in plan.takes)
    assert {fate.asked for fate in plan.takes} <= {InUseState.NO}
    again = plan_retention(HOME, world).plan  # type: ignore[arg-type]
    assert not again.takes


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 60), st.booleans())
def test_killed_at_any_call_and_started_again_it_ends_the_same(
    case: tuple[list[RetainedImage], dict[str, Any], set[str]], nth: int, after: bool
) -> None:
    whole, killed = world_of(case), world_of(case)
    whole.sweep()
    left = nth

    def dies(call: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Died(call)

    if after:
        killed.keeper.after = dies
    else:
        killed.keeper.before, killed.table = dies, Dying(killed.stored, dies)
    try:
        killed.sweep()
    except Died:
        tell_events(killed)
    killed.handed.clear()
    killed.keeper.before = killed.keeper.after = lambda call: None
    killed.table = killed.stored
    killed.sweep()
    assert state(killed) == state(whole)


def tell_events(world: Retaining) -> None:
    """What ECR itself told of, before the next run: its events are the table's other way to know."""
    world.keeper.before = world.keeper.after = lambda call: None
    world.table = world.stored
    for act, name in world.keeper.log:
        action = Action.DELETE if act == "delete" else Action.UPDATE_STORAGE_CLASS
        event = ImageAction(HOME.image(name), action, "SUCCESS", world.moment, f"{act}-{name}")
        record_push(event, Delivery(event.event_id, event), world)  # type: ignore[arg-type]


# ---- what happens between the plan and the deletion, and what is told of it


def test_what_runs_by_an_image_of_an_inner_index_stays() -> None:
    images = [
        retained(1, days=90),
        retained(2, days=90, contains=(digest(1),)),
        retained(3, "v1", days=90, contains=(digest(2),)),
        retained(4, "v2", days=1),
    ]
    for running in (1, 2, 3):
        world = Retaining(images, {**NEWEST, "untagged_after_days": 7})
        world.runtime.run(HOME.image(digest(running)))
        world.sweep()
        assert len(world.left) == 4, running


@pytest.mark.parametrize("behind", [{"policy_version": 0}, {"waivers_version": 0}])
def test_an_image_that_is_not_decided_by_the_rules_in_force_stays(behind: dict[str, Any]) -> None:
    """It may be quarantined, or waived, by the next look at it."""
    world = Retaining(three(), NEWEST)
    ref = HOME.image(digest(3))
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], **behind)
    waiver = Waiver(
        id="w-1", repository="team/*", reason="r", approved_by="b", expires_at=NOW + timedelta(days=1), created_at=NOW
    )
    rules = msgspec.structs.replace(world.fresh(), waivers=(waiver,), waivers_version=1)
    plan = plan_retention(HOME, world, rules=rules).plan  # type: ignore[arg-type]
    assert [f.image.digest for f in plan.wanted] == [digest(2)]
    assert next(f.by for f in plan.decisions if f.image.digest == digest(3)) == "not decided yet"


@pytest.mark.parametrize("action", ["expire", "archive"])
def test_what_is_ordered_or_denied_while_uses_are_looked_up_stays(action: str) -> None:
    world = Retaining(three(), {**NEWEST, "action": action})
    ref = HOME.image(digest(3))

    def deny(call: str) -> None:
        if call == "describe":
            world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], denied=True)

    world.keeper.before = deny
    world.sweep()
    assert [d for _, d in world.keeper.log] == [digest(2)]
    assert world.changed == {digest(3): "it is quarantined, or to be: evidence stays"}
    assert not world.records(f"{action.upper()}_FAILED")
    assert [r.ref for r in world.records(action.upper())] == [HOME.image(digest(2))]


def test_an_alert_is_told_although_the_worker_died_before_it_was_sent() -> None:
    """The queue delivers the message once more, as it was."""
    stopped, refused = Retaining(three(), {**NEWEST, "max_share": 0.5}), Retaining(three(), NEWEST)
    refused.keeper.refused[digest(3)] = "KmsError: no"
    for world in (stopped, refused):
        world.heard.fails = Died()
        with pytest.raises(Died):
            world.sweep()
        world.heard.fails = None
    context: Any = stopped
    run_sweep(MESSAGE, context, receives=2)
    assert [a.title for a in stopped.heard.alerts] == ["Retention stopped: team/api"]
    context = refused
    delivery = Delivery("m-1", TakeImages(HOME, NOW), receives=2)
    assert not receive_acts([delivery], context)
    assert [a.title for a in refused.heard.alerts] == ["Retention: 1 image could not be taken from team/api"]


def test_what_fails_in_a_later_part_of_the_run_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 1)
    world = Retaining(three(), NEWEST)
    world.keeper.refused |= {digest(2): "KmsError: no", digest(3): "KmsError: no"}
    world.sweep()
    assert [alert.notes for alert in world.heard.alerts] == [(f"{digest(n)[:19]}: KmsError: no",) for n in (2, 3)]
    assert set(world.stored.repositories[HOME]["retention"]["failed"]) == {digest(3)}


def test_an_image_that_goes_at_the_second_try_of_a_run_is_not_recorded_as_left() -> None:
    world = Retaining(three(), NEWEST)
    world.keeper.refused[digest(3)] = "KmsError: no"
    world.sweep()
    world.keeper.refused.clear()
    take_images(TakeImages(HOME, NOW, attempt=1), world)  # type: ignore[arg-type]
    assert world.left == {digest(1)}
    told = [r.kind for chain in world.stored.actions.values() for r in chain if r.ref == HOME.image(digest(3))]
    assert told == ["EXPIRE", "EXPIRE_FAILED", "EXPIRE"]


def test_a_deletion_that_is_refused_as_a_whole_is_recorded_and_told() -> None:
    world = Retaining(three(), NEWEST)
    world.keeper.before = failing("delete", DeniedError("delete images: AccessDenied"))
    world.sweep()
    assert len(world.left) == 3
    assert {r.reason for r in world.records("EXPIRE_FAILED")} == {"delete images: AccessDenied"}
    assert len(world.heard.alerts) == 1


def test_new_candidates_between_two_parts_do_not_stretch_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.usage.find_image_uses.MOST_LOOKED_UP", 2)
    images = [retained(n, f"t{n}", days=n) for n in range(1, 21)]
    world = Retaining(images, {"keep": {"tag": "t*"}, "max_share": 0.2})
    for n in (1, 2, 3):
        replaced(world, digest(n), tags=(f"x{n}",))

    def untagged(call: str) -> None:
        for n in (10, 11):
            if digest(n) in world.keeper.rows:
                replaced(world, digest(n), tags=(f"x{n}",))

    world.keeper.after = untagged
    world.sweep()
    assert len(world.left) == 18
    assert "5 of 20 images would go" in world.heard.alerts[0].notes[0]


def test_what_a_plan_weighs_makes_it_no_other_plan() -> None:
    """`retention plan` weighs, `retention apply` does not; both must come to the same id."""
    world = Retaining([*three(), retained(4, days=50, subject=digest(3))], {**NEWEST, "untagged_after_days": 90})
    ref = HOME.image(digest(4))
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], subject=None)
    replaced(world, digest(4), subject_digest=None)
    weighed = plan_retention(HOME, world, with_layers=True).plan  # type: ignore[arg-type]
    assert weighed == plan_retention(HOME, world).plan  # type: ignore[arg-type]


def test_manifests_are_not_read_where_nothing_would_go() -> None:
    """ECR counts it as a pull."""
    world = Retaining(three(), {"keep": {"newest": 3}})
    world.keeper.before = failing("insides", AssertionError("read"))
    assert not plan_retention(HOME, world, with_layers=True).plan.wanted  # type: ignore[arg-type]


# ---- what one message has no time for


def signed(number: int) -> list[RetainedImage]:
    """An old image with so many signatures, and a new one."""
    signatures = [retained(100 + n, days=90, subject=digest(1)) for n in range(number)]
    return [retained(1, "v1", days=90), retained(2, "v2", days=1), *signatures]


def test_what_there_is_no_time_to_take_is_the_next_messages_business() -> None:
    world = Retaining(signed(120), NEWEST)
    for n in range(100, 220):
        replaced(world, digest(n), artifact_media_type="application/vnd.cncf.notary.signature")

    def slow(call: str) -> None:
        world.moment += timedelta(seconds=25)

    world.keeper.after = slow
    world.sweep()
    assert world.left == {digest(2)}
    assert world.parts == 6, "three planned and taken: at 25 and 50 seconds, and what is left"
    taken = [d for _, d in world.keeper.log]
    assert len(taken) == len(set(taken)) == 121
    assert taken[-1] == digest(1), "what is signed goes last"
    assert world.stored.repositories[HOME]["retention"]["taken"] == 121


def test_whoever_is_throttled_half_way_goes_on_and_forgets_nothing_that_went() -> None:
    world = Retaining([retained(n, f"t{n}", days=n) for n in range(1, 61)], {**NEWEST, "max_images": 59})
    calls = 0

    def throttled(call: str) -> None:
        nonlocal calls
        calls += call == "delete"
        if calls == 2:
            calls += 1
            for n in range(100, 103):
                world.push(retained(n, f"x{n}", days=90))
            raise TransientError("throttled")

    world.keeper.before = throttled
    world.sweep()
    assert len(world.keeper.log) == 25
    assert "62 images would go, more than max_images (59)" in world.heard.alerts[0].notes[0]


def test_who_is_throttled_before_anything_went_is_put_back() -> None:
    world = Retaining(three(), NEWEST)
    world.keeper.before = failing("delete", TransientError("throttled"))
    with pytest.raises(TransientError):
        world.sweep()


def test_what_fails_in_a_part_that_goes_on_is_told_once_when_it_is_done() -> None:
    world = Retaining([retained(n, f"t{n}", days=n) for n in range(1, 61)], NEWEST)
    world.keeper.refused[digest(2)] = "KmsError: no"

    def slow(call: str) -> None:
        world.moment += timedelta(seconds=46)

    world.keeper.after = slow
    world.sweep()
    assert world.left == {digest(1), digest(2)}
    assert [alert.notes for alert in world.heard.alerts] == [(f"{digest(2)[:19]}: KmsError: no",)]


def test_what_an_image_holds_that_has_changed_stays_with_it_and_is_no_failure() -> None:
    images = [retained(1, days=90), retained(2, "v1", days=9, contains=(digest(1),)), retained(3, "v2", days=1)]
    world = Retaining(images, NEWEST)

    def meanwhile(call: str) -> None:
        if call == "describe":
            replaced(world, digest(2), last_pulled_at=NOW)

    world.keeper.before = meanwhile
    world.sweep()
    assert len(world.left) == 3
    assert world.changed == {
        digest(1): "what holds it has changed since the plan was made, and stays",
        digest(2): "it has changed since the plan was made",
    }
    assert not world.records("EXPIRE_FAILED")
    assert not world.heard.alerts
