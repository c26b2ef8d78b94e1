"""One order is undone by the id of its record, never by its words; what stood before it stands again, also when the
undo itself is undone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.enforcement.give_order import Given, Terms, quarantine_image, release_image
from chalicelib.services.enforcement.undo_action import undo_action
from tests.services.enforcement.test_enforce_verdict import ACTIVE, ARCHIVED, CRITICAL, Acting

KINDS = ("ORDER_QUARANTINE", "ORDER_RELEASE", "ORDER_TAKEN_BACK")
WORDS = "a leaked key"
OVER = Terms(override=True)


class Ordered(Acting):
    """Each order and each undo is followed to its end, a minute after the one before."""

    @property
    def orders(self) -> list[ActionRecord]:
        return [record for record in self.stored.actions.get(self.ref, ()) if record.kind in KINDS]

    def quarantine(self, by: str = "ann") -> str:
        return self._followed(lambda: quarantine_image(self.ref, by, WORDS, self, terms=OVER))  # type: ignore[arg-type]

    def release(self, by: str = "bob") -> str:
        return self._followed(lambda: release_image(self.ref, by, WORDS, self, terms=OVER))  # type: ignore[arg-type]

    def undo(self, action: str, by: str = "dan", **options: Any) -> str:
        terms = {"override": True, **options}
        return self._followed(lambda: undo_action(action, by, WORDS, self, **terms))  # type: ignore[arg-type]

    def _followed(self, ask: Any) -> str:
        """The id of the order's record."""
        self.moment += timedelta(minutes=1)
        ask()
        self.drain()
        return action_id(self.orders[-1])

    @property
    def stands(self) -> tuple[str, str] | None:
        order = self.head.order
        return None if order is None else (order.kind, order.by)


@pytest.fixture
def story() -> Ordered:
    return Ordered()


def test_of_two_orders_in_equal_words_only_the_one_that_is_named_is_undone(story: Ordered) -> None:
    first = story.quarantine()
    story.release()
    second = story.quarantine()
    before = story.head
    with pytest.raises(
        ConflictError, match=rf"another order stands for \S+: QUARANTINE by ann.*lazaretto undo {second}"
    ):
        story.undo(first)
    assert (story.head, story.storage) == (before, ARCHIVED)
    story.undo(second)
    assert story.stands == ("RELEASE", "dan"), "what the second one had ended stands again"


def test_an_order_that_replaced_one_in_equal_words_gives_it_back_and_not_itself(story: Ordered) -> None:
    story.quarantine()
    again = story.quarantine()
    undone = story.undo(again)
    assert story.stands == ("QUARANTINE", "dan")
    assert story.head.order.action == again
    with pytest.raises(ConflictError, match="another order stands"):
        story.undo(again)
    story.undo(undone)
    assert story.storage is ARCHIVED


def test_the_undo_of_an_order_that_was_not_done_yet_leaves_the_verdict_its_grace() -> None:
    story = Ordered(quarantine={"grace_minutes": 30}).worsen()
    assert story.held == "GRACE"
    story.moment += timedelta(minutes=1)
    quarantine_image(story.ref, "ann", WORDS, story)  # type: ignore[arg-type]
    undo_action(action_id(story.orders[-1]), "ann", "another image was meant", story)  # type: ignore[attr-defined, arg-type]
    story.drain()
    assert (story.storage, story.held) == (ACTIVE, "GRACE")
    story.wait_for(minutes=30)
    assert story.storage is ARCHIVED


def test_the_undo_of_an_order_is_undone(story: Ordered) -> None:
    order = story.quarantine()
    taken_back = story.undo(order)
    assert (story.stands, story.storage) == (None, ACTIVE)
    given_again = story.undo(taken_back, by="eve")
    assert (story.stands, story.storage) == (("QUARANTINE", "eve"), ARCHIVED)
    assert [record.kind for record in story.orders] == ["ORDER_QUARANTINE", "ORDER_TAKEN_BACK", "ORDER_QUARANTINE"]
    story.undo(given_again)
    assert (story.stands, story.storage) == (None, ACTIVE)


def test_the_undo_of_a_release_gives_back_the_quarantine_that_a_person_had_ordered(story: Ordered) -> None:
    story.quarantine()
    released = story.release()
    assert story.storage is ACTIVE
    story.undo(released)
    assert (story.stands, story.storage) == (("QUARANTINE", "dan"), ARCHIVED)


def test_the_undo_of_a_released_act_is_undone_and_the_verdict_that_was_released_stays_the_measure(
    story: Ordered,
) -> None:
    story.worsen()
    (act,) = [action_id(r) for r in story.stored.actions[story.ref] if r.kind == "QUARANTINE"]
    released = story.undo(act)
    standing = story.head.order.standing
    assert story.storage is ACTIVE
    taken_back = story.undo(released)
    assert story.storage is ARCHIVED
    story.undo(taken_back)
    assert (story.stands, story.storage) == (("RELEASE", "dan"), ACTIVE)
    assert story.head.order.standing == standing


def test_each_record_of_an_order_says_how_it_is_undone_and_what_stood_before(story: Ordered) -> None:
    ids = [story.quarantine(), story.release()]
    ids.append(story.undo(ids[1]))
    assert [r.undo for r in story.orders] == [f"lazaretto undo {one} --reason undone" for one in ids]
    pairs = [tuple(o and o.kind for o in r.orders or ()) for r in story.orders]
    assert pairs == [(None, "QUARANTINE"), ("QUARANTINE", "RELEASE"), ("RELEASE", "QUARANTINE")]


def test_a_release_act_is_not_undone_by_ending_an_order_that_was_given_after_it(story: Ordered) -> None:
    story.worsen()
    story.change_policy(rules=[])
    story.wait_for(minutes=5)
    (act,) = [action_id(r) for r in story.stored.actions[story.ref] if r.kind == "RELEASE"]
    later = story.release()
    with pytest.raises(ConflictError, match=f"another order stands .*lazaretto undo {later}"):
        story.undo(act)
    assert story.stands == ("RELEASE", "bob")


def test_an_order_that_is_given_while_another_is_undone_stands(story: Ordered) -> None:
    order = story.quarantine()
    read = story.stored.read_headers

    def overtaken(refs: Any) -> Any:
        if story.orders[-1].kind == "ORDER_TAKEN_BACK":
            story.stored.read_headers = read
            later = Order(ActionType.QUARANTINE, "cid", WORDS, story.moment)
            story.stored.put_header(msgspec.structs.replace(story.head, order=later))
        return read(refs)

    story.stored.read_headers = overtaken
    with pytest.raises(ConflictError, match=r"person:cid ordered its quarantine"):
        story.undo(order)
    assert story.stands == ("QUARANTINE", "cid")


def test_an_order_that_was_recorded_and_never_stood_is_not_what_an_undo_brings_back(
    story: Ordered, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = story.quarantine()
    with monkeypatch.context() as patch:
        patch.setattr("chalicelib.services.enforcement.give_order.update_header", cut_off)
        with pytest.raises(TransientError):
            story.release()
    taken_back = story.undo(order)
    assert (story.stands, story.storage) == (None, ACTIVE)
    story.undo(taken_back)
    assert (story.stands, story.storage) == (("QUARANTINE", "dan"), ARCHIVED)


def cut_off(*arguments: Any) -> None:
    raise TransientError("the function is out of time")


def test_a_release_is_not_brought_back_for_what_it_was_not_given_for(story: Ordered) -> None:
    taken_back = story.undo(story.release())
    story.receive(story.one.flaw(2, severity=CRITICAL))
    story.drain()
    assert story.storage is ARCHIVED
    with pytest.raises(ConflictError, match="was not given for CVE-2026-0002"):
        story.undo(taken_back)
    assert (story.stands, story.storage) == (None, ARCHIVED)


def test_a_release_whose_time_is_over_is_not_brought_back(story: Ordered) -> None:
    taken_back = story.undo(story.release())
    story.moment += timedelta(days=90)
    with pytest.raises(ConflictError, match="has ended at 2026-"):
        story.undo(taken_back)


def test_a_record_of_a_former_version_is_undone_by_its_id_too(story: Ordered) -> None:
    """It was recorded after a look at the workloads, later than the order, and does not hold the order before."""
    story.quarantine()
    chain = story.stored.actions[story.ref]
    old = [msgspec.structs.replace(r, orders=None, wanted_at=r.at + timedelta(seconds=9)) for r in chain]
    story.stored.actions[story.ref] = old
    order = action_id(next(r for r in old if r.kind == "ORDER_QUARANTINE"))
    taken_back = story.undo(order)
    assert (story.stands, story.storage) == (None, ACTIVE)
    chain = story.stored.actions[story.ref]
    story.stored.actions[story.ref] = [msgspec.structs.replace(r, orders=None) for r in chain]
    with pytest.raises(ConflictError, match="does not hold the order"):
        story.undo(taken_back)


def test_a_dry_run_of_an_undo_says_what_follows_and_changes_nothing(story: Ordered) -> None:
    taken_back = story.undo(story.quarantine())
    before, records = story.head, len(story.orders)
    planned: Given = undo_action(taken_back, "dan", WORDS, story, dry_run=True).given  # type: ignore[assignment, arg-type]
    assert planned.header.order is not None
    assert planned.header.order.kind is ActionType.QUARANTINE
    assert (story.head, len(story.orders)) == (before, records)


STEPS = st.lists(st.one_of(st.sampled_from(["quarantine", "release"]), st.integers(0, 9)), min_size=1, max_size=8)


@settings(deadline=None)
@given(STEPS)
def test_whatever_is_ordered_and_undone_only_the_last_word_is_undone_and_what_it_ended_stands_again(
    steps: list[str | int],
) -> None:
    """All in equal words. `history`: how it stood before each word that counts, and after the last one."""
    story, history = Ordered(), list[str | None]([None])
    ids: list[str] = []
    for step in steps:
        if isinstance(step, str):
            ids.append(getattr(story, step)())
            history.append(step.upper())
        elif ids:
            place = step % len(ids)
            if place == len(ids) - 1:
                ids.append(story.undo(ids[place]))
                history.append(history[place])
            else:
                before = story.head
                with pytest.raises(ConflictError):
                    story.undo(ids[place])
                assert story.head == before
    order = story.head.order
    assert (order and order.kind) == history[-1]
    assert story.storage is (ARCHIVED if history[-1] == "QUARANTINE" else ACTIVE)
