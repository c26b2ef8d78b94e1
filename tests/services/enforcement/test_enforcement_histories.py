"""Random histories of verdicts, people, policies, workloads and failures: what is done to ECR, and that it is undone.

At each call that takes an image away it is asked whether it may be (`enforcing.py`); at rest ECR is as it is wanted or
the header says what holds the act; every act has one record; and undoing all acts gives back what people had made.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.events.event import ImageAction
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, ScanState
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.errors import ConflictError, NotFoundError, TransientError
from chalicelib.services.enforcement.acquire_quota import reset_fuse
from chalicelib.services.enforcement.give_order import Terms, give_order
from chalicelib.services.enforcement.undo_action import undo_action
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from tests.extent import Extent
from tests.fakes.table import FakeTable
from tests.services.assessment.test_protocol_machine import dynamo
from tests.services.aws_model import Image
from tests.services.enforcing import ACTIVE, Enforcing
from tests.services.multi_arch import Index

__all__ = ["dynamo"]

HISTORIES, PARTS, STEPS = 1_000, 4, 15
ON_DYNAMODB = 10
MULTI_ARCH = 0.5
"""The share of histories with indexes."""
CRITICAL, HIGH, MEDIUM = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM
TAGS = ("v1", "v2", "latest")


class History:
    """One history, from a seed: two or three images in one or two repositories, then `steps` things that happen. In
    some (`MULTI_ARCH`) they are the images of two indexes that share one, and things happen to the indexes too."""

    def __init__(self, seed: int, make_table: Callable[..., Any] = FakeTable) -> None:
        self.seed, self.random = seed, Random(seed)
        self.world = Enforcing(make_table, seed)
        self.world.acts.restores_at_once = self.random.random() < 0.5
        self.rules: dict[str, Any] = {}
        self.rules |= self._limits()
        self.change(mode=self.random.choice(("observe", "enforce", "enforce", "enforce")))
        self.indexes: dict[ImageRef, tuple[ImageRef, ...]] = {}
        self.what = WHAT
        if self.random.random() < MULTI_ARCH:
            self._begin_with_indexes()
        else:
            refs = (self._ref(1), self._ref(2), self._ref(3, repository="other"))
            for ref in refs[: self.random.choice((2, 3, 3))]:
                self._begin_with(ref, self.random.choice(TAGS))
        self.world.work(self.random.randint(0, 20))

    def _ref(self, number: int, repository: str = "api") -> ImageRef:
        """By the seed alone, whatever was run before in this process; no other history has it."""
        digest = hashlib.sha256(f"{self.seed} {number}".encode()).hexdigest()
        return ImageRef("111122223333", "eu-west-1", f"history-{self.seed}/{repository}", f"sha256:{digest}")

    def _begin_with(self, ref: ImageRef, tag: str | None) -> None:
        self.world.push(ref, tag)
        image = self.world.images[ref]
        self.world.scan(image)
        image.flaw(1, severity=self.random.choice((HIGH, MEDIUM, CRITICAL)))
        self.world.scan(image)

    def _begin_with_indexes(self) -> None:
        one, shared, other, first, second = map(self._ref, range(1, 6))
        self.indexes = {first: (one, shared), second: self.random.choice(((shared,), (shared, other)))}
        self.what = (*WHAT, *WHAT_OF_INDEXES)
        for ref in dict.fromkeys(ref for children in self.indexes.values() for ref in children):
            self._begin_with(ref, self.random.choice((None, None, *TAGS)))
        self._push_index(first)
        if self.random.random() < 0.6:
            self._push_index(second)

    def live(self, steps: int) -> History:
        for _ in range(steps):
            getattr(self, self.random.choice(self.what))()
            self.world.work(self.random.choice((0, 2, 5, 20)), crash_in=0.1)
            if self.random.random() < 0.4:
                self.world.pass_time(minutes=self.random.choice((1, 5, 20, 70)))
        return self

    # ---- what happens

    def worsen(self) -> None:
        self._flaw(self.random.choice((CRITICAL, CRITICAL, HIGH)))

    def better(self) -> None:
        image = self._scanned_image()
        if self._watched(image) and image.flaws:
            number = self.random.choice(sorted(image.flaws))
            self.world.tell(image.close(number) if self.random.random() < 0.7 else image.flaw(number, severity=MEDIUM))

    def rescan(self) -> None:
        self.world.scan(self._scanned_image())

    def push(self) -> None:
        self.world.push(self._image().ref, self.random.choice(TAGS))

    def order(self) -> None:
        kind = self.random.choice((ActionType.QUARANTINE, ActionType.RELEASE))
        force, shared = self.random.random() < 0.3, self.random.random() < 0.5
        terms = Terms(force=force, with_shared=shared)
        self._ask(lambda: give_order(kind, self._image().ref, "oncall", "to be sure", self.world, terms=terms))

    def undo(self) -> None:
        acts = self.world.records()
        if acts:
            chosen = action_id(self.random.choice(acts))
            self._ask(lambda: undo_action(chosen, "oncall", "it was wrong", self.world))

    def use(self) -> None:
        image, runtime = self._image(), self.world.runtime
        if image.ref.digest in runtime.uses:
            runtime.stop(image.ref)
        else:
            runtime.run(image.ref)

    def blind(self) -> None:
        runtime = self.world.runtime
        runtime.blind = () if runtime.blind else ("account 222233334444",)

    def switch_mode(self) -> None:
        self.change(mode=self.random.choice(("observe", "enforce")))

    def exempt(self) -> None:
        self.change(exempt={"repository": self.random.choice(([], [self._image().ref.repository]))})

    def other_limit(self) -> None:
        self.change(**self._limits())

    def _limits(self) -> dict[str, Any]:
        when_running = self.random.choice(("alert", "alert", "proceed"))
        return {
            "quarantine": {"when_running": when_running, "max_per_hour": self.random.choice((1, 1, 2, 20))},
            "release": {"max_per_hour": self.random.choice((1, 2, 20, 20))},
        }

    def other_block(self) -> None:
        high: dict[str, Any] = {"id": "high", "match": {"severity": "HIGH"}, "decision": "block"}
        if self.random.random() < 0.7:
            high["enforce"] = "repository-policy"
        critical = {"id": "critical", "match": {"severity": {"gte": "CRITICAL"}}, "decision": "quarantine"}
        self.change(rules=[critical, high])

    def waive(self) -> None:
        now, image = self.world.moment, self._image()
        said = (image.ref.repository, f"CVE-2026-{self.random.randint(1, 3):04d}", None, None)
        ends = now + timedelta(minutes=self.random.choice((10, 90, 60 * 24 * 30)))
        one = Waiver(
            id=waiver_id(*said),
            repository=said[0],
            vulnerability_id=said[1],
            package=None,
            rule=None,
            reason="not reachable",
            approved_by="platform security",
            expires_at=ends,
            created_at=now,
        )
        self._ask(lambda: manage_waivers(Give(one), "oncall", self.world))

    def unwaive(self) -> None:
        stored = sorted(self.world.waivers.stored)
        if stored:
            self._ask(lambda: manage_waivers(End(self.random.choice(stored), "reachable"), "oncall", self.world))

    def reset_fuse(self) -> None:
        reset_fuse("oncall", "looked into", self.world, releases=self.random.random() < 0.5)

    def change_repository_policy(self) -> None:
        self.world.change_repository_policy(self._image().ref.home, f"Foreign{self.world.counted}")

    def take_out_deny(self) -> None:
        self.world.take_out_deny(self._image().ref.home)

    def push_index(self) -> None:
        self._push_index(self.random.choice(list(self.indexes)))

    def _push_index(self, ref: ImageRef) -> None:
        if ref not in self.world.images:
            self.world.add_index(ref, self.indexes[ref])
        self.world.push(ref, self.random.choice(TAGS))

    def delete_index(self) -> None:
        ref = self.random.choice(list(self.indexes))
        if self._is_at_rest(ref):
            self.world.delete(ref)

    def untag(self) -> None:
        ref = self.random.choice(list(self.indexes))
        if self._is_at_rest(ref) and (tags := self.world.images[ref].current.tags):
            self.world.untag(ref, self.random.choice(sorted(tags)))

    def _is_at_rest(self, ref: ImageRef) -> bool:
        """It is there, no push of it is still to be heard of, and no worker died as it took it away or gave it back."""
        header = self.world.header_or_none(ref)
        if header is None or header.begun is not None or not self.world.images[ref].current.exists:
            return False
        return not any(isinstance(e.body, ImageAction) and e.body.ref == ref for e in self.world.envelopes)

    # ---- and what must come of it

    def end(self) -> History:
        world = self.world
        world.rest(hours=2)
        world.check()
        world.check_registry()
        world.check_audit()
        return self

    def undo_all(self) -> History:
        """Where acting is allowed at all: with nothing running, nothing exempt, and a fuse that lets it pass."""
        world = self.world
        world.runtime.uses.clear()
        world.runtime.blind = ()
        quarantine = {**self.rules.get("quarantine", {}), "when_running": "alert", "max_per_hour": 1_000}
        self.change(mode="enforce", exempt={"repository": []}, quarantine=quarantine, release={"max_per_hour": 1_000})
        for releases in (False, True):
            reset_fuse("oncall", "the end", world, releases=releases)
        world.rest(hours=1.5)
        world.check_registry()
        acts = self.world.records()
        for record in reversed(acts):
            self._undo(record)
        for _ in range(3):
            world.rest(hours=1)
            for record in self.still_taken():
                self._undo(record)
        world.check_registry()
        world.check_audit()
        world.check_given_back()
        world.met["undone"] += len(acts)
        return self

    def still_taken(self) -> list[ActionRecord]:
        """The act that stands on each image that was taken away again: its release was undone before, or more was found
        in it once it could be scanned, and a release stands until the verdict gets worse. The last one first."""
        last = {(r.ref, r.kind if r.kind == ActionType.BLOCK else r.effect): r for r in self.world.records()}
        headers = [self.world.header(ref) for ref in self.world.images]
        held = [last[h.ref, f"{ActionType.QUARANTINE}#{h.hold.number}"] for h in headers if h.hold is not None]
        denied = [last[h.ref, ActionType.BLOCK] for h in headers if h.hold is None and h.denied]
        return sorted((*held, *denied), key=lambda r: r.at, reverse=True)

    def _undo(self, record: ActionRecord) -> None:
        self._ask(lambda: undo_action(action_id(record), "oncall", "all is undone", self.world))
        self.world.rest()

    def change(self, **said: Any) -> None:
        self.rules.update(said)
        self.world.change_policy(**self.rules)

    def _ask(self, what: Callable[[], Any]) -> None:
        """A person asks; what cannot be is refused."""
        with suppress(ConflictError, NotFoundError, TransientError):
            what()

    def _image(self) -> Image:
        return self.random.choice(list(self.world.images.values()))

    def _scanned_image(self) -> Image:
        return self.random.choice([i for i in self.world.images.values() if not isinstance(i, Index)])

    def _watched(self, image: Image) -> bool:
        moment = image.current
        return moment.exists and moment.storage is ACTIVE and moment.coverage.state is ScanState.COMPLETE

    def _flaw(self, severity: Severity) -> None:
        image = self._scanned_image()
        if self._watched(image):
            self.world.tell(image.flaw(self.random.randint(1, 3), severity=severity))


WHAT = (
    *("worsen",) * 4,
    *("better",) * 3,
    *("rescan",) * 2,
    *("push",) * 2,
    *("order",) * 2,
    *("undo",) * 2,
    *("use",) * 2,
    "blind",
    *("switch_mode",) * 2,
    "exempt",
    *("other_limit",) * 2,
    *("other_block",) * 2,
    "waive",
    "unwaive",
    "reset_fuse",
    "change_repository_policy",
    *("take_out_deny",) * 2,
)
WHAT_OF_INDEXES = (*("push_index",) * 3, *("delete_index",) * 2, *("untag",) * 2)


def run(seeds: Iterable[int], make_table: Callable[..., Any] = FakeTable, steps: int = STEPS) -> Counter[str]:
    """Returns what the histories have come by. One that fails is named by its seed."""
    met: Counter[str] = Counter()
    for seed in seeds:
        try:
            history = History(seed, make_table).live(steps).end().undo_all()
        except AssertionError as error:
            error.add_note(f"history {seed} of {steps} steps")
            raise
        met.update(history.world.met)
        met["histories"] += 1
    return met


def said(met: Counter[str]) -> str:
    held = ", ".join(
        f"{name.removeprefix('held: ')} {n}" for name, n in sorted(met.items()) if name.startswith("held: ")
    )
    return (
        f"{met['histories']} histories: {met['taken']} calls took an image away, {met['taken by order']} by order, "
        f"{met['given back']} gave one back, "
        f"{met['crash']} crashes, {met['undone']} acts undone; at rest {met['as wanted']} images as wanted, "
        f"{met['indexes compared']} of them indexes, {met['needed by an index']} kept for an index; "
        f"others held: {held}"
    )


def assert_worth_it(met: Counter[str], extent: Extent) -> None:
    """Nothing is proved by histories in which nothing happens. A tenth of them is too few for what is seldom."""
    histories = met["histories"]
    assert met["taken"] > histories
    assert met["given back"] > histories
    assert met["undone"] > histories
    assert met["crash"] > histories / 4
    if not extent.is_full:
        return
    assert met["held: OBSERVE"] > histories / 20
    assert met["held: RUNNING"] > histories / 20
    assert met["indexes compared"] > histories / 3
    assert met["needed by an index"] > histories / 50


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_happens_acts_are_safe_recorded_and_undone(
    part: int, extent: Extent, record_property: Callable[[str, object], None]
) -> None:
    met = run(extent.seeds(HISTORIES)[part::PARTS])
    record_property("counted", f"enforcement, part {part + 1} of {PARTS}: {said(met)}")
    assert_worth_it(met, extent)


def test_whatever_happens_the_audit_chains_verify_on_dynamodb(
    dynamo: Callable[..., Any], extent: Extent, record_property: Callable[[str, object], None]
) -> None:
    met = run(extent.seeds(ON_DYNAMODB), dynamo)
    assert met["indexes compared"] or not extent.is_full
    record_property("counted", f"enforcement on DynamoDB: {said(met)}")
