"""A world in which acts are watched: what each call that takes an image away finds, and what ECR would be without us.

Beside every image stands what it would be had we never acted (`Former`): people push, tag and write policies in both.
A worker that is not killed does its message in one go, so that what must be so can be asked at each call it makes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.enforcement.enforcement import is_ordered, wanted
from chalicelib.domain.enforcement.fuse import share_of
from chalicelib.domain.enforcement.repository_policy import canonical, has_statement, with_statement
from chalicelib.domain.events.event import ApiCall
from chalicelib.domain.events.message import Act, WatchDenies, WatchWaivers
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Holding, PendingAct, Stage
from chalicelib.domain.images.image import ImageRef, Kind, Repository, ScanState, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.audit.verify_audit import verify_chain
from tests.fakes.policies import statement
from tests.services.aws_model import Image
from tests.services.lockstep import turn
from tests.services.multi_arch import Index, as_index
from tests.services.world import Envelope, World
from tests.services.world_acts import WorldActs

ACTIVE, ARCHIVED, ACTIVATING = StorageStatus.ACTIVE, StorageStatus.ARCHIVED, StorageStatus.ACTIVATING
HOUR = timedelta(hours=1)
CLOCK = timedelta(minutes=5)
A_CALL = timedelta(seconds=1)
"""What a change of the registry takes: ECR tells of them by the second."""
ACTS = frozenset({ActionType.QUARANTINE, ActionType.RELEASE, ActionType.BLOCK, ActionType.UNBLOCK})


class Former(msgspec.Struct):
    """What ECR would hold had we never acted: each image with its tags, and the policy of each repository."""

    tags: dict[ImageRef, set[str]] = {}
    policies: dict[Repository, str] = {}

    def push(self, ref: ImageRef, tag: str | None) -> None:
        mine = self.tags.setdefault(ref, set())
        if tag is None:
            return
        for other, tags in self.tags.items():
            if other.home == ref.home:
                tags.discard(tag)
        mine.add(tag)


class Enforcing(World):
    """`taken`: when each act (image and effect) last made an image impossible to pull, since the last reset of the
    fuse. `spent`: how many images each image's acts took away and when, but for those that were ordered or had been
    quarantined before (`quarantined`). `done`: the acts whose end was put into a header. `former_policies`: until when
    each was in force."""

    def __init__(self, make_table: Callable[[Callable[[], datetime]], Any], seed: int = 0) -> None:
        super().__init__(make_table, seed)
        self.acts = WatchedActs(self)
        self.former = Former()
        self.taken: dict[tuple[ImageRef, str], datetime] = {}
        self.spent: dict[ImageRef, tuple[datetime, int]] = {}
        self.quarantined: set[ImageRef] = set()
        self.done: set[tuple[ImageRef, str]] = set()
        self.former_policies: list[tuple[datetime, Policy]] = []
        self.at_work: Act | None = None
        self.restoring: dict[ImageRef, datetime] = {}

    # ---- ports

    def find_action(self, text: str) -> Any:
        turn("find_action")
        row = self.audit.find(text)
        return row.record if row else None

    def describe_image(self, ref: ImageRef) -> Any:
        return as_index(super().describe_image(ref), self.images[ref])

    # ---- what people do

    def change_policy(self, **changes: Any) -> None:
        self.former_policies.append((self.moment, self.policies[-1]))
        super().change_policy(**changes)

    def push(self, ref: ImageRef, tag: str | None) -> None:
        """The first time, again (it comes back from an archive or from nowhere), or another tag of the same image. With
        an index those of its images that are not to be had."""
        image = self.images.get(ref) or self.add(ref)
        for child in image.children if isinstance(image, Index) else ():
            if not self.images[child].current.exists or self.images[child].current.storage is not ACTIVE:
                self.push(child, None)
        self.moment += A_CALL
        self.former.push(ref, tag)
        if not image.current.exists or image.current.storage is not ACTIVE:
            self.comes_back(image)
        for other in self.images.values():
            if other is not image and other.ref.home == ref.home and tag in other.current.tags:
                other.change(tags=tuple(t for t in other.current.tags if t != tag))
        if tag is not None:
            image.change(tags=(*(t for t in image.current.tags if t != tag), tag))
        self.tell(image.action("PUSH", tag=tag))

    def comes_back(self, image: Image) -> None:
        """By a push: to be scanned again."""
        self.restoring.pop(image.ref, None)
        if not image.current.exists:
            image.pushed_at = self.moment
        scan = image.current.coverage
        if not isinstance(image, Index):
            scan = msgspec.structs.replace(scan, state=ScanState.PENDING, reason="PENDING_REVIVAL_SCAN")
        image.change(exists=True, storage=ACTIVE, activated_at=self.moment, coverage=scan)

    def add_index(self, ref: ImageRef, children: Sequence[ImageRef]) -> None:
        index = Index(ref, self.now, children)
        self.images[ref], self.manifests[ref] = index, index.manifest

    def delete(self, ref: ImageRef) -> None:
        """With all of its tags."""
        self.moment += A_CALL
        image, tags = self.images[ref], self.images[ref].current.tags
        self.restoring.pop(ref, None)
        del self.former.tags[ref]
        image.change(exists=False, storage=ACTIVE, tags=())
        self.tell(*[image.action("DELETE", tag=tag) for tag in tags or (None,)])
        self.met["deleted by people"] += 1

    def untag(self, ref: ImageRef, tag: str) -> None:
        """Without its last tag ECR deletes an image."""
        image = self.images[ref]
        left = tuple(t for t in image.current.tags if t != tag)
        if not left:
            self.delete(ref)
            return
        self.moment += A_CALL
        self.former.tags[ref].discard(tag)
        image.change(tags=left)
        self.tell(image.action("DELETE", tag=tag))

    def change_repository_policy(self, home: Repository, sid: str) -> None:
        """Somebody adds a statement to what is there, ours included."""
        self.acts.policies[home] = with_foreign(self.acts.policies.get(home), sid)
        self.former.policies[home] = with_foreign(self.former.policies.get(home), sid)
        self.tell(self.call("SetRepositoryPolicy", home))

    def take_out_deny(self, home: Repository) -> None:
        """Somebody writes the repository's policy as it would be had we never acted."""
        self.moment += A_CALL
        if (theirs := self.former.policies.get(home)) is None:
            self.acts.policies.pop(home, None)
            self.tell(self.call("DeleteRepositoryPolicy", home))
        else:
            self.acts.policies[home] = theirs
            self.tell(self.call("SetRepositoryPolicy", home))
        self.met["deny taken out"] += 1

    def call(self, name: str, home: Repository) -> ApiCall:
        """As CloudTrail tells of it, whoever made it."""
        return ApiCall(name, home.registry, home.region, None, self.moment, "event", repository=home)

    def scan(self, image: Image) -> None:
        if image.current.exists and image.current.storage is ACTIVE and not isinstance(image, Index):
            self.tell(image.scanned(), image.covered())

    def tell(self, *events: Any) -> None:
        """Each once or twice, in any order."""
        self.moment += A_CALL
        for event in events:
            for _ in range(self.random.choice((1, 1, 1, 2))):
                self.deliver(event, delay_seconds=self.random.choice((0, 0, 0, 5, 70)))

    # ---- time and workers

    def pass_time(self, **time: float) -> None:
        """ECR and Inspector come to an end with what they have begun; the clock of five minutes comes once. Nothing
        lies in a queue for longer than that."""
        self.moment += timedelta(**time)
        for envelope in [e for e in self.envelopes if e.at <= self.moment - CLOCK]:
            self.handle(envelope, dies=False)
        for ref, since in list(self.restoring.items()):
            if self.moment >= since:
                self.acts.finish_restore(ref)
                del self.restoring[ref]
        for image in self.images.values():
            waits = image.current.coverage.state is ScanState.PENDING and image.current.storage is ACTIVE
            if waits and image.history[-1][0] < self.moment - timedelta(minutes=3):
                self.scan(image)
        self.clock_comes()

    def clock_comes(self) -> None:
        for shard in sorted({shard_of(ref) for ref in self.images}):
            re_decide(shard, self)  # type: ignore[arg-type]
        if any(self.stored.denying()):
            self.put("sweeps", WatchDenies())
        if self.waivers.stored or self.waivers.moving:
            self.put("sweeps", WatchWaivers())

    def work(self, most: int, crash_in: float = 0.0) -> None:
        """Handles up to `most` of the messages that are there; one in `1 / crash_in` dies somewhere on its way."""
        for _ in range(most):
            there = [e for e in self.envelopes if e.at <= self.moment]
            if not there:
                return
            self.handle(self.random.choice(there), self.random.random() < crash_in)

    def handle(self, envelope: Envelope, dies: bool) -> None:
        """Who does not die does it in one go, in this thread: that is several times as fast as in a worker's."""
        self.at_work = envelope.body if isinstance(envelope.body, Act) else None
        if not dies:
            self.envelopes.remove(envelope)
            envelope.receives += 1
            self.looked.clear()
            self._handle(envelope.queue, [self._delivery(envelope)])
            return
        worker = self.work_on([envelope])
        for _ in range(self.random.randint(1, 25)):
            if not worker.done:
                self.step(worker)
        if not worker.done:
            self.kill(worker)

    def rest(self, hours: float = 0) -> None:
        """Every message is handled, nobody dies, and the clock comes every quarter of an hour."""
        self._empty()
        for _ in range(int(hours * 4)):
            self.pass_time(minutes=15)
            self._empty()

    def _empty(self) -> None:
        for _ in range(3_000):
            if not self.envelopes:
                return
            envelope = min(self.envelopes, key=lambda e: e.at)
            self.moment = max(self.moment, envelope.at)
            self.handle(envelope, dies=False)
        raise AssertionError(f"the queues never empty: {[e.body for e in self.envelopes[:3]]}")

    # ---- what must be so at each call that takes away or gives back

    def takes(self, ref: ImageRef, *, whole: bool = False) -> None:
        """An image, or (`whole`) all images of its repository, cannot be pulled any more after the call."""
        self.moment += A_CALL
        act, quarantine = self._acting(), self.policies[-1].quarantine
        order = None if whole else self.header(ref).commanded
        forced = order is not None and order.force
        assert self.policies[-1].enforcing or forced, "acted in observe mode"
        assert order or not self._is_exempt(ref), "acted on an exempt repository"
        if quarantine.when_running == "alert" and not forced:
            assert not self.runtime.blind, "acted though nobody could tell whether it runs"
            assert not self._runs(ref, whole=whole), "acted on an image that runs"
        if not whole:
            assert not self._is_released(ref), "took away what a person has released"
            needed_by = {*self.needed_by(ref)} - {act.ref.digest}
            assert order or not needed_by, "took away what an index needs that may be pulled"
        self.met["taken by order"] += order is not None
        self.met["taken"] += 1
        self.taken[act.ref, act.effect] = self.moment
        if not is_ordered(self.header(act.ref)) and (whole or ref not in self.quarantined):
            self._count(act.ref, whole=whole)
        if not whole:
            self.quarantined.add(ref)

    def _count(self, ref: ImageRef, *, whole: bool) -> None:
        limit = self._limit_of(self._acting().ref)
        there = [one for one in self.images.values() if one.ref.home == ref.home and one.current.exists]
        images = sum(one.current.storage is ACTIVE for one in there) if whole else 1
        if not images:  # a Deny of what is archived takes nothing away
            return
        at, former = self.spent.get(ref, (self.moment, 0))
        self.spent[ref] = self.moment, max(images, former if at > self.moment - HOUR else 0)
        lately = {ref: images for ref, (at, images) in self.spent.items() if at > self.moment - HOUR}
        assert sum(lately.values()) <= limit, f"the fuse let {sum(lately.values())} pass within an hour"
        reset_at = self.stored.read_fuse().reset_at
        if reset_at is None or reset_at <= self.moment - HOUR:
            mine = sum(images for other, images in lately.items() if other.home == ref.home)
            assert mine <= share_of(limit), f"one repository had {mine} within an hour"

    def _limit_of(self, ref: ImageRef) -> int:
        """The largest since its act passed the fuse: who takes the act over finds its place there."""
        slots = [slot.at for slot in self.stored.read_fuse().taken if slot.key.startswith(f"{ref} ")]
        passed = min(slots, default=self.moment)
        since = [policy for until, policy in self.former_policies if until >= passed]
        return max(policy.quarantine.max_per_hour for policy in (*since, self.policies[-1]))

    def gives_back(self, ref: ImageRef) -> None:
        self.moment += A_CALL
        header = self.header(self._acting().ref)
        ordered = header.order is not None and header.order.kind is ActionType.RELEASE
        took_what_runs = header.begun is ActionType.QUARANTINE and self._runs(ref, whole=False)
        ended = header.hold is not None and header.hold.ordered and header.order is None
        observes = not self.policies[-1].enforcing
        may = not observes or ordered or ended or took_what_runs
        assert may, "gave back in observe mode what no person has released and nothing runs"
        if self._acting() == Act(ref, f"{ActionType.RELEASE}#{header.enforcement_number}") and not (observes and ended):
            assert self.needed_by(ref) or not self._is_condemned(header), "gave back what is to stay quarantined"
        self.met["given back"] += 1

    def _acting(self) -> Act:
        assert self.at_work is not None, "who is no act's worker changes nothing in the registry"
        return self.at_work

    def _is_exempt(self, ref: ImageRef) -> bool:
        return ref.repository in self.policies[-1].exempt.repository

    def _is_released(self, ref: ImageRef) -> bool:
        order = self.header(ref).order
        return order is not None and order.kind is ActionType.RELEASE

    def _runs(self, ref: ImageRef, *, whole: bool) -> bool:
        """An image runs where one of its indexes does that is known, an index where one of its images does."""
        header = self.header(ref)
        related = {ref.digest, *header.parents, *(child.digest for child in header.children)}
        return any(
            digest in related or (whole and ref.home.image(digest) in self.images) for digest in self.runtime.uses
        )

    # ---- indexes

    def indexes_of(self, ref: ImageRef) -> list[Index]:
        return [i for i in self.images.values() if isinstance(i, Index) and ref in i.children]

    def needed_by(self, ref: ImageRef) -> list[str]:
        """The indexes that need it, by all that is known: one that is to be quarantined itself needs nothing."""
        image = self.header(ref)
        known = [self.header(i.ref) for i in self.indexes_of(ref) if i.ref.digest in image.parents]
        return [h.ref.digest for h in known if h.exists and not self._is_condemned(h)]

    def _is_condemned(self, header: Header) -> bool:
        if self._is_released(header.ref):
            return False
        if header.commanded is None and self._is_exempt(header.ref):
            return False
        return header.order is not None or header.judged is Decision.QUARANTINE

    def _watch(self, name: str, arguments: tuple[Any, ...], answer: Any) -> None:
        super()._watch(name, arguments, answer)
        if name == "put_header" and answer.enforcement is not None and answer.enforcement.stage is Stage.DONE:
            self.done.add((answer.ref, answer.enforcement.key))
        if name == "change_fuse" and answer.reset_at == self.moment and answer == self.stored.read_fuse():
            self.taken.clear()
            self.spent.clear()

    # ---- what must be so at rest

    def check_registry(self) -> None:
        """ECR is as it is wanted, or the header holds the act with a reason that is true."""
        for ref in self.images:
            header = self.header(ref)
            assert header.begun is None, "an act was begun and never ended"
            found = self.images[ref].current
            assert header.exists is found.exists
            needed_by = self.needed_by(ref)
            self.met["needed by an index"] += bool(needed_by and self._is_condemned(header))
            act, desired = header.act, wanted(header, self.policies[-1], needed_by)
            if act is not None:
                self._check_held(header, act)
                continue
            if desired.quarantine:
                assert self.is_away(header), f"to be quarantined, and is {found.storage} with {found.tags}"
            else:
                assert header.hold is None, "to be released, and still held"
                assert found.exists or ref not in self.former.tags
                assert not found.exists or found.storage is ACTIVE
            assert header.denied is desired.denied
            self.met["as wanted"] += 1
        for home in {ref.home for ref in self.images}:
            for_these = [h for h in map(self.header, self.images) if h.ref.home == home and h.denied]
            assert has_statement(self.acts.policies.get(home)) is bool(for_these)
            assert set(self.stored.read_denied(home).digests) == {h.ref.digest for h in for_these}

    def check_image(self, ref: ImageRef) -> None:
        if isinstance(self.images[ref], Index):
            self.check_index(ref)
        else:
            super().check_image(ref)

    def check_index(self, ref: ImageRef) -> None:
        """It is known with its images, and they with it; it is as bad as the worst of them."""
        header, index = self.header(ref), self.images[ref]
        assert isinstance(index, Index)
        assert header.kind is Kind.INDEX
        assert tuple(c.digest for c in header.children) == tuple(c.digest for c in index.children)
        # Its own alert waits two hours for that of an image.
        assert not header.notices or (header.due_at is not None and header.due_at > self.moment), "left undone"
        assert header.act is None or header.act.held is not None, "left undone"
        images = [self.header(child) for child in index.children]
        assert all(ref.digest in image.parents for image in images)
        assert header.verdict is not None
        assert header.verdict.decision is max((image.decision for image in images), key=lambda d: d.rank)
        assert header.verdict.standing.critical == sum(image.standing.critical for image in images)
        self.met["indexes compared"] += 1

    def is_away(self, header: Header) -> bool:
        found = self.images[header.ref].current
        return not found.exists or found.storage is ARCHIVED

    def _check_held(self, header: Header, act: PendingAct) -> None:
        assert act.held is not None, f"{act.key} is neither done nor held"
        assert act.held.detail, "held without a reason"
        self.met[f"held: {act.held.why}"] += 1
        policy, ref = self.policies[-1], header.ref
        match act.held.why:
            case Holding.OBSERVE:
                assert not policy.enforcing
            case Holding.RUNNING:
                assert policy.quarantine.when_running == "alert"
                assert self.runtime.blind or self._runs(ref, whole=act.kind is ActionType.BLOCK)
            case Holding.FUSE:
                fuse = self.stored.read_fuse(releases=not act.kind.takes_away)
                waits = fuse.blown_at is not None or any(t.key == f"{ref} {act.key}" for t in fuse.over_share)
                wide = "it waits for a person's order" in act.held.detail
                assert waits or wide or (act.held.until is not None and act.held.until <= self.moment)
                assert act.kind.takes_away or header.decision is Decision.QUARANTINE, "its doors are open"
            case Holding.RESTORING:
                assert self.images[ref].current.storage is ACTIVATING
            case Holding.FAILED:
                # The Deny that others took out again and again.
                assert act.kind is ActionType.BLOCK, f"nothing has failed here: {act.held.detail}"
                assert "it is left to people" in act.held.detail

    def check_audit(self) -> None:
        """Each act that ended has exactly one record, nothing has one that was no act, and each chain verifies."""
        recorded: Counter[tuple[ImageRef, str]] = Counter()
        for chain in (*self.images, "fuse"):
            assert not verify_chain(chain, self.audit, ()).problems
        for record in self.records():
            assert record.ref is not None
            recorded[record.ref, record.effect] += 1
        assert not [key for key, number in recorded.items() if number > 1], "recorded twice"
        assert set(recorded) == self.done
        assert self.taken.keys() <= self.done, "an act that took something away and was never recorded"

    def records(self) -> list[ActionRecord]:
        """Those of acts, in the order in which they were."""
        found = [row.record for ref in self.images for row in self.audit.of_chain(ref)]
        return sorted((r for r in found if r.kind in ACTS), key=lambda r: r.at)

    def check_given_back(self) -> None:
        """Nothing of us is left in ECR."""
        for ref, tags in self.former.tags.items():
            found = self.images[ref].current
            assert (found.exists, found.storage) == (True, ACTIVE), ref
            assert set(found.tags) == tags, (ref, found.tags, tags)
        deleted = self.images.keys() - self.former.tags.keys()
        assert not [ref for ref in deleted if self.images[ref].current.exists]
        for home in {ref.home for ref in self.images}:
            assert canonical(self.acts.policies.get(home)) == canonical(self.former.policies.get(home))


class WatchedActs(WorldActs):
    """Every change is asked for by the one act that is at work; nothing is ever deleted."""

    world: Enforcing

    def _tell(self, *events: Any) -> None:
        super()._tell(*events)
        self.world.moment += A_CALL

    def archive(self, ref: ImageRef) -> None:
        turn("archive")
        if self._there(ref).current.storage is ACTIVE:
            self.world.takes(ref)
        super().archive(ref)

    def restore(self, ref: ImageRef) -> None:
        turn("restore")
        if self._there(ref).current.storage is ARCHIVED:
            self.world.gives_back(ref)
            if not self.restores_at_once:
                minutes = self.world.random.choice((2, 20, 50))
                self.world.restoring[ref] = self.world.moment + timedelta(minutes=minutes)
        super().restore(ref)

    def write_policy(self, repository: Repository, text: str) -> None:
        turn("write_policy")
        act = self.world._acting()
        assert act.ref.home == repository
        if has_statement(text) and not has_statement(self.policies.get(repository)):
            self.world.takes(act.ref, whole=True)
        elif not has_statement(text):
            self.world.gives_back(act.ref)
        self._is_whole(repository, text)
        super().write_policy(repository, text)
        self._tell(self.world.call("SetRepositoryPolicy", repository))

    def delete_policy(self, repository: Repository) -> None:
        turn("delete_policy")
        self.world.gives_back(self.world._acting().ref)
        self._is_whole(repository, None)
        super().delete_policy(repository)
        self._tell(self.world.call("DeleteRepositoryPolicy", repository))

    def _is_whole(self, repository: Repository, text: str | None) -> None:
        """Never a half: what people wrote, with our statement or without it."""
        theirs = self.world.former.policies.get(repository)
        whole = {canonical(theirs)} | {canonical(with_foreign_order(theirs, text, self.world.own_roles))}
        assert canonical(text) in whole, f"a policy half applied: {text}"


def with_foreign(text: str | None, sid: str) -> str:
    policy = json.loads(text) if text else {"Version": "2012-10-17", "Statement": []}
    return json.dumps({**policy, "Statement": [*policy["Statement"], statement(sid)]})


def with_foreign_order(theirs: str | None, text: str | None, own_roles: Sequence[str]) -> str | None:
    """Their policy with our statement where it stands in `text`."""
    if text is None or not has_statement(text):
        return theirs
    whole = json.loads(with_statement(theirs, own_roles))["Statement"]
    place = [s.get("Sid") for s in json.loads(text)["Statement"]].index(whole[-1]["Sid"])
    version = json.loads(text).get("Version")
    return json.dumps({"Version": version, "Statement": [*whole[:place], whole[-1], *whole[place:-1]]})
