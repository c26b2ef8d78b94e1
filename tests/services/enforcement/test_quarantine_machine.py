"""People against enforcement: pushers, scanners, operators, workloads and the clock in any order, over orders,
releases, waivers, labels and policies. What must be so is asked at each header that a worker puts, at each call that
changes the registry, after each step, and when all is drained (`contested.py`, `enforcing.py`).
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.enforcement.order_records import ORDERS
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, ScanState
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.services.enforcement.acquire_quota import reset_fuse
from chalicelib.services.enforcement.give_order import Terms, give_order
from chalicelib.services.enforcement.undo_action import undo_action
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from tests.extent import SEED, Extent
from tests.services.aws_model import Image
from tests.services.contested import ACCOUNT, REFUSALS, REGION, Contested, Seen
from tests.services.enforcing import ACTIVE
from tests.services.multi_arch import Index

HISTORIES, PARTS, STEPS = 2_000, 4, 11
CRITICAL, HIGH, MEDIUM = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM
TAGS = ("v1", "v2", "latest")
OPERATORS = ("alice", "bob")
WHY = "found in the wild"
"""The same words for every order: an undo goes by ids, never by words."""

ABOUT_ONE = 12
which = st.integers(0, 2 * ABOUT_ONE - 1)
chance = st.integers(0, 99)
operator = st.sampled_from(OPERATORS)


class People(RuleBasedStateMachine):
    """`which` names an image, `chance` how a thing is done. `met` counts what the histories have come by."""

    met: Counter[str] = Counter()

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = Contested(seed=seed)
        self.world.acts.restores_at_once = self.random.random() < 0.6
        self.views: dict[tuple[str, ImageRef], Seen] = {}
        self.policy: dict[str, Any] = {}
        self._change(mode=self.random.choice(("observe", "enforce", "enforce", "enforce")), **self._limits())
        a, b, c, d = map(self._ref, range(4))
        far = self._ref(4, repository="other")
        inner, outer, other = map(self._ref, range(5, 8))
        nested = (inner, (a, b)), (outer, (inner, c)), (other, (b,))
        layout = self.random.choice(((), nested[:1], nested[:2], nested))
        self.indexes: dict[ImageRef, tuple[ImageRef, ...]] = dict(layout)
        held = [ref for _, children in layout for ref in children if ref not in self.indexes]
        images = dict.fromkeys([*held, far if self.random.random() < 0.5 else d, *(() if layout else (a,))])
        for ref in images:
            self.world.push(ref, None if ref in held else self.random.choice(TAGS))
            self.world.scan(self.world.images[ref])
        for ref in self.indexes:
            self._push_index(ref)
        if self.indexes and self.random.random() < 0.4:
            self.world.runtime.run(self.random.choice(list(self.indexes)))
        if self.random.random() < 0.3:
            self.world.rest()
        for ref in images:
            flaw = self.world.images[ref].flaw(1, severity=self.random.choice((HIGH, MEDIUM, CRITICAL)))
            self.world.tell(flaw)
        self.focus = self.random.choice(list(self.world.images.values()))
        self._go_on(20)
        seen = {ref: view for ref in self.world.images if (view := self.world.see(ref)) is not None}
        self.views.update({(by, ref): view for by in OPERATORS for ref, view in seen.items()})

    def _ref(self, number: int, repository: str = "api") -> ImageRef:
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        return ImageRef(ACCOUNT, REGION, f"team/{repository}", f"sha256:{digest}")

    # ---- pushers

    @rule(which=which, chance=chance)
    def push(self, which: int, chance: int) -> None:
        """An image or an index anew, or a tag to it."""
        image = self._image(which)
        self.world.push(image.ref, TAGS[chance % 3] if chance < 80 else None)
        self._go_on()

    @rule(which=which, chance=chance)
    def push_again(self, which: int, chance: int) -> None:
        """What was taken away, if anything was."""
        away = [i for i in self.world.images.values() if not i.current.exists or i.current.storage is not ACTIVE]
        if away:
            self.world.push(away[which % len(away)].ref, TAGS[chance % 3])
        self._go_on()

    @rule(which=which)
    def delete(self, which: int) -> None:
        ref = self._image(which).ref
        if self._is_at_rest(ref) and self.world.can_be_deleted(ref):
            self.world.delete(ref)
        self._go_on()

    @rule(which=which)
    def push_new_index(self, which: int) -> None:
        """Over an image or an index that is there already; all its labels say that it is none."""
        ref = self._ref(20 + which % 2)
        if ref not in self.world.images and (images := [i for i in self.world.images.values() if self._is_there(i)]):
            self.indexes[ref] = (images[which % len(images)].ref,)
            if self.indexes[ref][0].home == ref.home:
                self._push_index(ref, labelled=True)
            else:
                del self.indexes[ref]
        self._go_on()

    def _push_index(self, ref: ImageRef, *, labelled: bool = False) -> None:
        if ref not in self.world.images:
            self.world.add_index(ref, self.indexes[ref], labelled=labelled)
        self.world.push(ref, self.random.choice(TAGS))

    def _is_there(self, image: Image) -> bool:
        return image.current.exists and image.current.storage is ACTIVE

    def _is_at_rest(self, ref: ImageRef) -> bool:
        """No push of it is still to be heard of, and no worker died as it took it away or gave it back."""
        header = self.world.header_or_none(ref)
        if header is None or header.begun is not None or not self.world.images[ref].current.exists:
            return False
        return not any(getattr(e.body, "ref", None) == ref and e.queue == "scans" for e in self.world.envelopes)

    # ---- scanners

    @rule(which=which, chance=chance)
    def find(self, which: int, chance: int) -> None:
        image = self._scanned(which)
        if self._is_watched(image):
            self.world.tell(image.flaw(1 + chance % 3, severity=CRITICAL if chance < 60 else HIGH))
        self._go_on()

    @rule(which=which, chance=chance)
    def fix(self, which: int, chance: int) -> None:
        image = self._scanned(which)
        if self._is_watched(image) and image.flaws:
            number = sorted(image.flaws)[chance % len(image.flaws)]
            self.world.tell(image.close(number) if chance < 70 else image.flaw(number, severity=MEDIUM))
        self._go_on()

    @rule(which=which, chance=chance)
    def scan(self, which: int, chance: int) -> None:
        """Or: one that fails; or findings turn out to be exploited, of which Inspector is asked within a day."""
        image = self._scanned(which)
        if chance < 20 and self._is_watched(image):
            self.world.tell(*image.lapse(ScanState.FAILED, "INTERNAL_ERROR"), image.covered())
        elif chance < 60:
            self.world.kev |= dict.fromkeys((f.source_finding_id for f in image.flaws.values()), True)
        else:
            self.world.scan(image)
        self._go_on()

    def _scanned(self, which: int) -> Image:
        images = [i for i in self.world.images.values() if not isinstance(i, Index)]
        return images[which % len(images)]

    def _is_watched(self, image: Image) -> bool:
        return self._is_there(image) and image.current.coverage.state is ScanState.COMPLETE

    # ---- operators

    @rule(by=operator, which=which, chance=chance)
    def quarantine(self, by: str, which: int, chance: int) -> None:
        terms = Terms(force=chance % 3 == 0, with_shared=chance % 2 == 0, override=chance < 30)
        self._order(ActionType.QUARANTINE, by, self._image(which).ref, terms, chance)

    @rule(by=operator, which=which, chance=chance)
    def quarantine_an_index(self, by: str, which: int, chance: int) -> None:
        if indexes := [ref for ref in self.indexes if ref in self.world.images]:
            terms = Terms(force=chance % 3 > 0, with_shared=chance % 2 == 0, override=chance < 50)
            self._order(ActionType.QUARANTINE, by, indexes[which % len(indexes)], terms, chance)

    @rule(by=operator, which=which, chance=chance)
    def release(self, by: str, which: int, chance: int) -> None:
        """Mostly what is kept out."""
        world = self.world
        kept = [ref for ref in world.images if (h := world.header_or_none(ref)) and h.decision.closes_doors]
        ref = kept[which % len(kept)] if kept and chance % 7 else self._image(which).ref
        until = (None, timedelta(minutes=20), timedelta(hours=3), timedelta(days=2))[chance % 4]
        ends = None if until is None else world.moment + until
        terms = Terms(until=ends, override=chance < 40, allow_unmatched=chance % 5 > 0)
        self._order(ActionType.RELEASE, by, ref, terms, chance)

    def _order(self, kind: ActionType, by: str, ref: ImageRef, terms: Terms, chance: int) -> None:
        """With the ETag of now, or the one that was seen at some earlier time."""
        world = self.world
        seen = (self.views.get((by, ref)) if chance % 10 < 7 else None) or (world.see(ref) if chance < 96 else None)
        sent = Terms(
            force=terms.force,
            with_shared=terms.with_shared,
            until=terms.until,
            allow_unmatched=terms.allow_unmatched,
            override=terms.override,
            seen=seen.etag if seen is not None else "",
        )
        header = world.header_or_none(ref)
        runs = header is not None and (bool(world.runtime.blind) or world._runs(ref, whole=False))
        given = world.ask(
            by,
            lambda: give_order(kind, ref, by, WHY, world, terms=sent),  # type: ignore[arg-type]
            override=terms.override,
            seen=None if seen is None else (ref, seen),
        )
        if given and kind is ActionType.QUARANTINE and not terms.force:
            policy = world.policies[-1]
            assert policy.enforcing, "a plain order where the policy observes"
            assert not runs or policy.quarantine.when_running == "proceed", "a plain order about what runs"
        if (view := world.see(ref)) is not None:
            self.views[by, ref] = view
        self._go_on()

    @rule(by=operator, chance=chance)
    def undo(self, by: str, chance: int) -> None:
        """One of the last actions, of whatever image, or an order in the words of the one that stands."""
        records = [r for r in self._actions() if r.kind in ORDERS or r.kind in (ActionType.QUARANTINE, *GIVING)]
        stand = [word.order for word in self.world.words.values()]
        alike = [r for r in records if any(r.kind == f"ORDER_{o.kind}" and r.wanted_at < o.at for o in stand)]
        if records:
            chosen = records[max(0, len(records) - 1 - max(0, chance % 7 - 2))]
            chosen = alike[-1 - chance % len(alike)] if alike and chance % 3 == 0 else chosen
            self._undo(chosen, by, override=chance < 50)
        self._go_on()

    def _undo(self, record: ActionRecord, by: str, *, override: bool) -> None:
        world, action = self.world, action_id(record)
        assert record.ref is not None
        is_last, header = world.is_last_word(action), world.header(record.ref)
        undone = world.ask(
            by,
            lambda: undo_action(action, by, WHY, world, override=override),  # type: ignore[arg-type]
            override=override,
            seen=None,
        )
        if not undone:
            return
        assert is_last, "undid another order than the last one"
        if record.kind == ActionType.QUARANTINE:
            held = header.hold is not None and f"{ActionType.QUARANTINE}#{header.hold.number}" == record.effect
            assert held, "undid a quarantine that is over"

    def _actions(self) -> list[ActionRecord]:
        found = [row.record for ref in self.world.images for row in self.world.audit.of_chain(ref)]
        return sorted(found, key=lambda r: r.at)

    @rule(by=operator, which=which, chance=chance)
    def waive(self, by: str, which: int, chance: int) -> None:
        """Or a waiver is revoked."""
        now, repository = self.world.moment, self._image(which).ref.repository
        if chance < 30 and (stored := sorted(self.world.waivers.stored)):
            with suppress(*REFUSALS):
                manage_waivers(End(stored[which % len(stored)], "reachable"), by, self.world)  # type: ignore[arg-type]
            return
        said = (repository, f"CVE-2026-{1 + chance % 3:04d}", None, None)
        one = Waiver(
            id=waiver_id(*said),
            repository=said[0],
            vulnerability_id=said[1],
            package=None,
            rule=None,
            reason="not reachable",
            approved_by=by,
            expires_at=now + (timedelta(minutes=10), timedelta(minutes=70), timedelta(days=20))[chance % 3],
            created_at=now,
        )
        with suppress(*REFUSALS):
            manage_waivers(Give(one), by, self.world)  # type: ignore[arg-type]
        self._go_on()

    @rule(which=which, chance=chance)
    def change_policy(self, which: int, chance: int) -> None:
        match chance % 4:
            case 0:
                self._change(mode="observe" if chance < 50 else "enforce")
            case 1:
                self._change(exempt={"repository": [self._image(which).ref.repository] if chance < 50 else []})
            case 2:
                self._change(**self._limits())
            case _:
                high: dict[str, Any] = {"id": "high", "match": {"severity": "HIGH"}, "decision": "block"}
                critical = {"id": "critical", "match": {"severity": {"gte": "CRITICAL"}}, "decision": "quarantine"}
                self._change(rules=[critical, high | ({"enforce": "repository-policy"} if chance < 50 else {})])
        self._go_on()

    def _limits(self) -> dict[str, Any]:
        quarantine = {
            "when_running": self.random.choice(("alert", "alert", "proceed")),
            "max_per_hour": self.random.choice((1, 2, 20, 20)),
            "grace_minutes": self.random.choice((0, 0, 0, 30)),
        }
        return {"quarantine": quarantine, "release": {"max_per_hour": self.random.choice((1, 2, 20))}}

    def _change(self, **said: Any) -> None:
        self.policy.update(said)
        self.world.graced_at = self.world.moment
        self.world.change_policy(**self.policy)

    @rule(by=operator, chance=chance)
    def reset(self, by: str, chance: int) -> None:
        reset_fuse(by, "looked into", self.world, releases=chance % 2 == 0)  # type: ignore[arg-type]
        self._go_on()

    # ---- workloads and the cluster

    @rule(which=which, chance=chance)
    def run_image(self, which: int, chance: int) -> None:
        """By its digest, by a tag, or by a copy of it; one in three by an index that holds it, on whatever level."""
        image, runtime = self._image(which), self.world.runtime
        if indexes := self.world.indexes_of(image.ref) if chance % 3 == 0 else []:
            image = indexes[-1]
        if chance < 50:
            runtime.run(image.ref)
        elif chance < 80 and image.current.tags:
            runtime.tags.add((image.ref.home, sorted(image.current.tags)[0]))
        else:
            runtime.run_copy(image.ref.digest)
        self._go_on()

    @rule(chance=chance)
    def stop_images(self, chance: int) -> None:
        """Or looks begin to fail, or succeed again."""
        runtime = self.world.runtime
        if chance < 70:
            runtime.uses.clear()
            runtime.tags.clear()
            runtime.blind = ()
        else:
            runtime.blind = () if runtime.blind else ("account 222233334444",)
        self._go_on()

    @rule(which=which)
    def start_pod(self, which: int) -> None:
        image = self._image(which)
        self.world.admit(image.ref, next(iter(sorted(image.current.tags)), None), starts=True)
        self._go_on()

    # ---- the clock and the workers

    @rule(chance=chance)
    def wait(self, chance: int) -> None:
        self.world.pass_time(minutes=(1, 5, 20, 70)[chance % 4])
        self._go_on()

    @rule()
    def wait_days(self) -> None:
        for _ in range(2):
            self.world.pass_time(hours=14)
            self.world.work(20)

    @rule(most=st.integers(1, 40), dies=st.booleans())
    def work(self, most: int, dies: bool) -> None:
        self.world.work(most, crash_in=0.3 if dies else 0.0)

    def _go_on(self, most: int | None = None) -> None:
        """Some of what is there is handled, in any order; some workers die, and others take over."""
        self.world.work(self.random.choice((0, 2, 5, 20)) if most is None else most, crash_in=0.2)
        if self.random.random() < 0.3:
            self.world.pass_time(minutes=self.random.choice((1, 2, 6)))
        self.world.check_now()

    def _image(self, which: int) -> Image:
        """Half of what happens is about one image."""
        if which >= ABOUT_ONE:
            return self.focus
        images = list(self.world.images.values())
        return images[which % len(images)]

    def teardown(self) -> None:
        if hasattr(self, "world") and sys.exception() is None:  # else what follows would hide what has failed
            self.world.rest(hours=2)
            self.world.check_rest()
            self.met.update(self.world.met)
            self.met["histories"] += 1


GIVING = (ActionType.RELEASE, ActionType.UNBLOCK)


def run(histories: int, part: int, steps: int = STEPS) -> Counter[str]:
    """Returns what the histories have come by. Another part has others."""
    People.met = Counter()
    how = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "phases": (Phase.generate,)}
    machine = seed(SEED + part)(type(f"People{part}", (People,), {}))
    run_state_machine_as_test(machine, settings=settings(max_examples=histories, stateful_step_count=steps, **how))
    return People.met


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_people_do_quarantine_holds(
    part: int, extent: Extent, record_property: Callable[[str, object], None]
) -> None:
    met = run(extent.runs(HISTORIES // PARTS), part)
    record_property("counted", f"people against enforcement, part {part + 1} of {PARTS}: {said(met)}")
    assert_worth_it(met, extent)


def said(met: Counter[str]) -> str:
    orders = sum(number for name, number in met.items() if name.startswith("said: "))
    kept_out = sum(number for name, number in met.items() if name.startswith("kept out: "))
    return (
        f"{met['histories']} histories: {met['taken']} calls took an image away, {met['given back']} gave one back, "
        f"{met['crash']} crashes; {orders} orders, {met['a release ended']} releases ended, {kept_out} times kept out"
    )


def assert_worth_it(met: Counter[str], extent: Extent) -> None:
    """Nothing is proved by histories in which nothing happens. A tenth of them is too few for what is seldom."""
    histories = met["histories"]
    assert met["taken"] > histories / 2
    assert met["crash"] > histories / 2
    if not extent.is_full:
        return
    assert met["said: ORDER_QUARANTINE"] > histories / 5
    assert met["said: ORDER_RELEASE"] > histories / 10
    assert met["given back"] > histories / 10
    assert met["a release ended"] > histories / 20
    assert met["said: ORDER_TAKEN_BACK"] > histories / 50
    assert met["refused: OutdatedError"] > histories / 20
    assert met["needed by an index"] > histories / 100
    assert met["kept out: it waits for the brake"] > histories / 50
    for held in ("OBSERVE", "RUNNING", "FUSE"):
        assert met[f"held: {held}"] > histories / 50, held
