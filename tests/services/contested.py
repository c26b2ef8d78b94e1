"""A world of people against enforcement: two operators with ETags of some earlier time, pushers of nested and labelled
indexes, workloads by digest, by tag and of copies, and a cluster that asks the door.

Beside the headers stands what people said (`Word`), kept by what their requests answered. It is compared with what is
stored at each header that is put and after each step: no order ends but by its end or by name, and no door opens for
what a person, or an act, keeps in quarantine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chalicelib.api.answers.answering import answer_verdict, images_behind
from chalicelib.domain.admission.admission import read_review
from chalicelib.domain.admission.judgement import AdmissionOutcome
from chalicelib.domain.audit.action import ActionKind, action_id
from chalicelib.domain.enforcement.order_records import ORDERS
from chalicelib.domain.headers.header import Header, weakest
from chalicelib.domain.headers.pending_action import ActionType, Holding, Order, PendingReport
from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef, InUse, Kind, Manifest, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.errors import ConflictError, InputError, NotFoundError, OutdatedError, TransientError
from chalicelib.parsers.images.manifests import parse_manifest
from chalicelib.services.admission.admit_images import admit_images, keep_admission
from chalicelib.services.ports.registry import Subject
from chalicelib.services.waivers.revoke_expired_waivers import revoke_expired_waivers
from tests.agreement import OPEN, disagreements
from tests.fakes.queries import FakeAdmissions
from tests.fakes.runtime import FakeRuntime
from tests.fakes.table import FakeTable
from tests.services.enforcing import A_CALL, ARCHIVED, Enforcing
from tests.services.multi_arch import MEDIA_TYPE, Index

ACCOUNT, REGION, CLUSTER = "111122223333", "eu-west-1", "prod"
DAY = timedelta(days=1)
ASKED = 0.2
"""How often all ways of asking are compared, beside at rest: it costs as much as a step."""
REFUSALS = (ConflictError, NotFoundError, TransientError, InputError)
CLOSING = (Severity.HIGH, Severity.CRITICAL)
"""What some rule of these policies closes the doors for."""
LABELS = {
    "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": "sha256:0"},
    "artifactType": "application/spdx+json",
    "subject": {"mediaType": MEDIA_TYPE, "digest": f"sha256:{'0' * 64}", "size": 1},
}
"""Whoever pushes writes them as they like."""


class Word(msgspec.Struct, frozen=True):
    """The order that stands by all that people said. `action`: the id of the record by which it was given; `covers`:
    what a release was given for at the least, `lets`: at the most, waived or not; `exploited`: what was known to be
    exploited then."""

    order: Order
    action: str
    covers: frozenset[str] = frozenset()
    lets: frozenset[str] = frozenset()
    exploited: frozenset[str] = frozenset()

    def releases(self, now: datetime) -> bool:
        until = self.order.until
        return self.order.kind is ActionType.RELEASE and (until is None or now < until)


class Seen(msgspec.Struct, frozen=True):
    """What an operator saw of an image: its ETag, and what that stands for."""

    etag: str
    facts: tuple[object, ...]


class Workloads(FakeRuntime):
    """Some name an image by its tag; those of a copy lie in a repository that nobody here knows."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.tags: set[tuple[Repository, str]] = set()

    def in_use(self, subject: Subject, since: datetime | None = None) -> InUse:
        named = {tag for home, tag in self.tags if home == subject.ref.home and (subject.whole or tag in subject.tags)}
        mine = {f"tag {tag}": (f"ECS service by tag {tag}",) for tag in named if not subject.pinned}
        known = self.uses
        self.uses = {**known, **mine}
        try:
            return super().in_use(msgspec.structs.replace(subject, digests=subject.digests | mine.keys()), since)
        finally:
            self.uses = known

    def run_copy(self, digest: str) -> None:
        self._homes.pop(digest, None)
        self.uses[digest] = ("Lambda function of another repository",)

    def home_of(self, digest: str) -> Repository | None:
        return self._homes.get(digest)


class LabelledIndex(Index):
    """Every label on it and on its children says that it is none, and that they are attestations."""

    @property
    def manifest(self) -> Manifest:
        platform = {"os": "unknown", "architecture": "unknown"}
        one = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "platform": platform}
        children = [{**one, "digest": c.digest, "annotations": LABELS["annotations"]} for c in self.children]
        body = {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "manifests": children, **LABELS}
        return parse_manifest(json.dumps(body), MEDIA_TYPE)


class Contested(Enforcing):
    """`words`: the orders that stand, by image; `given`: all that were given, to be found in the audit log."""

    def __init__(self, make_table: Callable[[Callable[[], datetime]], Any] = FakeTable, seed: int = 0) -> None:
        super().__init__(make_table, seed)
        self.runtime = Workloads(self.now)
        self.admissions: Any = FakeAdmissions()
        self.registries = (RegistryPlace(REGION),)
        self.words: dict[ImageRef, Word] = {}
        self.given: list[tuple[ImageRef, str, str, datetime]] = []
        self.ends: list[ImageRef] = []
        self.away_at: dict[ImageRef, datetime] = {}
        self.graced_at = self.moment
        self.is_spoken_to = False

    # ---- ports of the admission door

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        found = {name: self.stored.read_tag(*name) for name in names}
        return {name: digest for name, digest in found.items() if digest is not None}

    def own_account(self) -> str:
        return ACCOUNT

    # ---- indexes of indexes, and labels

    def add_index(self, ref: ImageRef, children: Sequence[ImageRef], *, labelled: bool = False) -> None:
        index = (LabelledIndex if labelled else Index)(ref, self.now, children)
        self.images[ref], self.manifests[ref] = index, index.manifest

    def indexes_of(self, ref: ImageRef) -> list[Index]:
        """On every level, as far as they are known."""
        found: dict[str, Header] = {}
        self._climb(ref, lambda header: header.parents, found)
        return [one for digest in found if isinstance(one := self.images.get(ref.home.image(digest)), Index)]

    def needed_by(self, ref: ImageRef) -> list[str]:
        known = [self.header(index.ref) for index in self.indexes_of(ref)]
        return [h.ref.digest for h in known if h.exists and not self._keeps_nothing(h)]

    def _keeps_nothing(self, index: Header) -> bool:
        """Where the policy observes, the end of an order gives its index back."""
        comes_back = index.hold is not None and index.hold.ordered and not self.policies[-1].enforcing
        return self._is_condemned(index) and (index.commanded is not None or not comes_back)

    def below(self, ref: ImageRef) -> list[Header]:
        """All images and indexes in an index."""
        found: dict[str, Header] = {}
        self._climb(ref, lambda header: [child.digest for child in header.children], found)
        return list(found.values())

    def _climb(self, ref: ImageRef, step: Callable[[Header], Sequence[str]], found: dict[str, Header]) -> None:
        header = self.header_or_none(ref)
        for digest in step(header) if header is not None else ():
            if digest not in found and (one := self.header_or_none(ref.home.image(digest))) is not None:
                found[digest] = one
                self._climb(one.ref, step, found)

    def check_index(self, ref: ImageRef) -> None:
        """ECR gives no manifest of an index that was archived by an order before its push was heard of."""
        header = self.header(ref)
        if header.kind_read or header.storage is not ARCHIVED:
            super().check_index(ref)

    def can_be_deleted(self, ref: ImageRef) -> bool:
        """ECR deletes no image that an index names."""
        holders = [i for i in self.images.values() if isinstance(i, Index) and ref in i.children]
        return not any(index.current.exists for index in holders)

    # ---- workloads

    def _runs(self, ref: ImageRef, *, whole: bool) -> bool:
        above = [index.ref for index in self.indexes_of(ref)]
        related = [ref, *above, *(header.ref for header in self.below(ref))]
        if whole:
            related = [one for one in self.images if one.home == ref.home]
        digests = {one.digest for one in related}
        named = {(one.home, tag) for one in related for tag in self.images[one].current.tags}
        homes = {digest: self.runtime.home_of(digest) for digest in self.runtime.uses}
        by_digest = any(digest in digests and home in (None, ref.home) for digest, home in homes.items())
        copied = whole and None in homes.values()
        return by_digest or copied or bool(named & self.runtime.tags)

    def takes(self, ref: ImageRef, *, whole: bool = False) -> None:
        """What a person had ordered is ended by whoever takes it over, without a grace."""
        header = self.header(self._acting().ref)
        new = header.order is None and ref not in self.quarantined
        if not whole and new and header.act is not None and not header.act.by.startswith("person:"):
            grace = timedelta(minutes=self.policies[-1].quarantine.grace_minutes)
            begins = header.act.wanted_at
            assert begins <= self.graced_at or begins + grace <= self.moment, "archived before its grace was over"
        super().takes(ref, whole=whole)

    # ---- what people say

    def facts(self, ref: ImageRef) -> tuple[object, ...]:
        """What an ETag stands for: the decision, the order, the last act and the state in the registry."""
        header = self.header(ref)
        order, done = header.order, header.enforcement
        ordered = None if order is None else (order.kind, order.at)
        acted = None if done is None else (done.kind, done.number, done.stage)
        return header.decision, ordered, acted, header.denied, header.storage is ARCHIVED

    def see(self, ref: ImageRef) -> Seen | None:
        header = self.header_or_none(ref)
        return None if header is None else Seen(header.etag, self.facts(ref))

    def ask(self, by: str, request: Callable[[], Any], *, override: bool, seen: tuple[ImageRef, Seen] | None) -> bool:
        """One request of a person; False: it was refused, and has changed no order. An order of another person is
        ended only by `override`, and nothing is ordered over what was changed since it was `seen`."""
        self.moment += A_CALL
        before = {ref: self._order(ref) for ref in self.images}
        known = [header for ref in self.images if (header := self.header_or_none(ref)) is not None]
        stood = {h.ref: h.verdict.standing if h.verdict else VerdictSummary(Decision.PENDING) for h in known}
        outdated = seen is not None and self.facts(seen[0]) != seen[1].facts
        if (refused := self._refusal(request)) is not None:
            same = {ref: self._order(ref) for ref in self.images} == before
            assert same, "a refused request has changed an order"
            assert outdated or not isinstance(refused, OutdatedError), f"told of a change that was none: {refused}"
            self.met[f"refused: {type(refused).__name__}"] += 1
            return False
        assert not outdated, "ordered over what was changed since it was seen"
        for ref, former in before.items():
            stands, ended = self._order(ref), self._ended_at_once(ref)
            if _identity(stands) == _identity(former) and ended is None:
                continue
            assert override or former is None or former.owner == by, "ended an order of another person"
            if stands is not None or ended is not None or not self._is_ending(ref):
                self._heard(ref, stands, by, ended, stood[ref])
        for ref in self.images:
            if (header := self.header_or_none(ref)) is not None:
                self._check_order(header)
        return True

    def _is_ending(self, ref: ImageRef) -> bool:
        """Whether a release has ended by the order about an image of the index: it is told of, and recorded after
        that."""
        return any(isinstance(one, PendingReport) and one.ends for one in self.header(ref).pending)

    def _ended_at_once(self, ref: ImageRef) -> Order | None:
        header = self.header_or_none(ref)
        notices = () if header is None or header.order is not None else header.notices
        ends = [one.ends for one in notices if isinstance(one, PendingReport) and one.ends is not None]
        return next((one for one in ends if one.at == self.moment), None)

    def _refusal(self, request: Callable[[], Any]) -> Exception | None:
        self.is_spoken_to = True
        try:
            request()
        except REFUSALS as error:
            return error
        finally:
            self.is_spoken_to = False
        return None

    def _order(self, ref: ImageRef) -> Order | None:
        header = self.header_or_none(ref)
        return None if header is None else header.order

    def _has_got_worse(self, ref: ImageRef, former: VerdictSummary) -> bool:
        """By the verdicts of its images, which it hears of later, whatever is ordered about them."""
        images = [one for one in (self.header(ref), *self.below(ref)) if one.kind is Kind.IMAGE and one.verdict]
        found = [one.verdict.standing for one in images if one.verdict is not None]
        more = sum(one.critical for one in found) > former.critical or sum(one.kev for one in found) > former.kev
        worse = any(one.decision.rank > former.decision.rank for one in found)
        return (more or worse) and any(one.decision.closes_doors for one in found)

    def _heard(self, ref: ImageRef, order: Order | None, by: str, ended: Order | None, stood: VerdictSummary) -> None:
        """`ended`: a release that ended as it was put, because of what its giver could not know: `stood` is what the
        image stood like for him."""
        record = [row.record for row in self.audit.of_chain(ref) if row.record.kind in ORDERS][-1]
        said = order or ended
        wanted = ActionKind.ORDER_TAKEN_BACK if said is None else f"ORDER_{said.kind}"
        assert (record.kind, record.actor) == (wanted, f"person:{by}"), "an order without its record"
        self.given.append((ref, record.kind, record.effect, record.wanted_at))
        self.met[f"said: {record.kind}"] += 1
        if ended is not None:
            assert self._has_got_worse(ref, stood), "a release that ended at once for nothing"
            self.ends.append(ref)
        if order is None:
            self.words.pop(ref, None)
            return
        # What is not there shows its giver nothing: whatever closes once it is pushed again was not released.
        seen = self._closing(ref) if self.images[ref].current.exists else ()
        covers, lets = frozenset(seen), frozenset(self._closing(ref, at_most=True))
        self.words[ref] = Word(order, action_id(record), covers, lets, frozenset(self._exploited(ref)))

    def is_last_word(self, action: str) -> bool:
        """Of the id of an order: whether it is the one that stands, or ended the last one."""
        for ref in self.images:
            records = [row.record for row in self.audit.of_chain(ref) if row.record.kind in ORDERS]
            for record in records:
                if action_id(record) != action:
                    continue
                word = self.words.get(ref)
                return record == records[-1] if word is None else word.action == action
        return True

    def _findings(self, ref: ImageRef) -> list[tuple[ImageRef, Finding]]:
        refs = [ref, *(header.ref for header in self.below(ref))]
        found = [(one, finding) for one in refs for finding in self.document(one).findings]
        return [(one, finding) for one, finding in found if finding.status is not FindingStatus.RESOLVED]

    def _closing(self, ref: ImageRef, *, at_most: bool = False) -> set[str]:
        """What closes its doors by the rules; `at_most`: waived or not."""
        waived = {
            (waiver.repository, waiver.vulnerability_id)
            for waiver in self.waivers.stored.values()
            if waiver.in_force(self.moment)
        }
        return {
            finding.vulnerability_id
            for one, finding in self._findings(ref)
            if finding.severity in CLOSING and (at_most or (one.repository, finding.vulnerability_id) not in waived)
        }

    def _exploited(self, ref: ImageRef) -> set[str]:
        return {finding.vulnerability_id for _, finding in self._findings(ref) if finding.kev is True}

    # ---- what must be so at each header that is put

    def _watch(self, name: str, arguments: tuple[Any, ...], answer: Any) -> None:
        super()._watch(name, arguments, answer)
        if name == "put_header" and not self.is_spoken_to:
            self.check_header(answer)

    def check_header(self, header: Header) -> None:
        self._check_order(header)
        self._check_fuse(header)
        if (why := self._kept_out(header)) is not None:
            self.check_doors(header, why)

    def _check_order(self, header: Header) -> None:
        """It stands as people said, or its end is one that the documentation names."""
        ref, word = header.ref, self.words.get(header.ref)
        if word is not None and header.order is None and self._has_ended(word, ref):
            del self.words[ref]
            self.ends.append(ref)
            assert self._is_ending(ref), "an end that is not told"
            self.met["a release ended"] += 1
            return
        stands = None if word is None else word.order
        assert _identity(header.order) == _identity(stands), f"{_identity(stands)} is {_identity(header.order)}"

    def _has_ended(self, word: Word, ref: ImageRef) -> bool:
        order = word.order
        if order.kind is not ActionType.RELEASE:
            return False
        over = order.until is not None and order.until <= self.moment
        return over or bool(self._has_turned(word, ref, at_most=True))

    def _has_turned(self, word: Word, ref: ImageRef, *, at_most: bool) -> str:
        """Why a release may have ended; not `at_most`: why it must have."""
        if self._exploited(ref) - word.exploited:
            return "a finding is exploited"
        if self._closing(ref, at_most=at_most) - (word.covers if at_most else word.lets):
            return "another finding closes"
        later = [w for one in self.below(ref) if (w := self.words.get(one.ref)) and w.order.at >= word.order.at]
        return "an image was ordered" if any(w.order.kind is ActionType.QUARANTINE for w in later) else ""

    def _check_fuse(self, header: Header) -> None:
        """What was under quarantine within a day waits for no fuse."""
        act = header.act
        if header.hold is not None and header.storage is ARCHIVED and header.begun is None:
            self.away_at[header.ref] = self.moment
        if act is not None and act.kind is ActionType.QUARANTINE and act.held and act.held.why is Holding.FUSE:
            away_at = self.away_at.get(header.ref)
            again = away_at is not None and away_at > act.held.since - DAY
            assert not again, "what was quarantined within a day waits for the fuse"

    def _kept_out(self, header: Header) -> str | None:
        """Why no door may open for it; None: one may."""
        word, policy = self.words.get(header.ref), self.policies[-1]
        if header.kind is Kind.ARTIFACT or not header.exists:
            return None
        if word is not None and word.order.kind is ActionType.QUARANTINE:
            return "ordered"
        if (word is not None and word.releases(self.moment)) or header.hold is None:
            return None
        if self.images[header.ref].current.storage is not ARCHIVED or not policy.may_take_from(header.ref.repository):
            return None
        if header.verdict is not None and header.verdict.decision is Decision.QUARANTINE:
            return "quarantined"
        act = header.act
        waits = act is not None and act.kind is ActionType.RELEASE and header.begun is None
        if waits and act is not None and (act.held is None or act.held.why is Holding.FUSE):
            return "it waits for the brake"
        return None

    def check_doors(self, header: Header, why: str) -> None:
        """`why`: what closes them."""
        now = revoke_expired_waivers(header, self)  # type: ignore[arg-type]
        said = answer_verdict(now, weakest(images_behind(self.reads, header)))
        # BLOCK: its image was ordered, and is no more; the index is decided again soon.
        assert said.decision.closes_doors, f"/v1/verdict and the gate say {said.decision}: {why}"
        assert said.decision not in OPEN
        outcome = self.admit(header.ref)
        assert outcome is AdmissionOutcome.DENIED, f"the admission door says {outcome}: {why}"
        self.met[f"kept out: {why}"] += 1

    @property
    def reads(self) -> Any:
        return self

    def headers(self, refs: Sequence[ImageRef]) -> dict[ImageRef, Header]:
        return {ref: one.header for ref, one in self.stored.read_headers(refs).items()}

    def admit(self, ref: ImageRef, tag: str | None = None, *, starts: bool = False) -> AdmissionOutcome:
        """What the door of the cluster says of a pod of it; `starts`: and it is remembered."""
        name = f"{ref.home.uri}:{tag}" if tag else str(ref)
        pod = {"spec": {"containers": [{"name": "c", "image": name}]}}
        kind = {"group": "", "version": "v1", "kind": "Pod"}
        request = {"uid": "u-1", "kind": kind, "operation": "CREATE", "object": pod}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        admission = admit_images(read_review(json.dumps(review).encode()), self, CLUSTER)  # type: ignore[arg-type]
        if starts:
            keep_admission(admission, CLUSTER, self)  # type: ignore[arg-type]
        return admission.outcome

    def clock_comes(self) -> None:
        self._check_ended_releases()
        super().clock_comes()

    def _check_ended_releases(self) -> None:
        """The doors do not wait for the clock."""
        for ref, word in self.words.items():
            header = self.header(ref)
            over = word.order.kind is ActionType.RELEASE and not word.releases(self.moment) and header.exists
            if not over or header.order is None or not self.policies[-1].may_take_from(ref.repository):
                continue
            decision = revoke_expired_waivers(header, self).decision  # type: ignore[arg-type]
            shut = self.admit(ref) in (AdmissionOutcome.DENIED, AdmissionOutcome.GRACE)
            # What is not scanned is not let in either, though nothing closes it.
            assert shut is (decision not in (Decision.ALLOW, Decision.WARN)), "a release that is over opens"
            self.met["a release was over"] += 1

    # ---- what must be so after each step, and at rest

    def check_now(self) -> None:
        known = [header for ref in self.images if (header := self.header_or_none(ref)) is not None]
        for header in known:
            if header.ref in self.words or self.random.random() < ASKED:
                self.check_header(header)
        if self.random.random() < ASKED:
            # An index hears of its images by messages.
            assert disagreements(header for header in known if header.kind is Kind.IMAGE) == []

    def check(self) -> None:
        """What is told beside verdicts has no number, and comes twice after a crash."""
        self.alerts = Counter({key: times for key, times in self.alerts.items() if key[1]})
        super().check()

    def check_rest(self) -> None:
        self.check()
        self.check_registry()
        self.check_audit()
        self.check_now()
        assert disagreements(map(self.header, self.images)) == []
        self._check_words()

    def _check_words(self) -> None:
        """Every order and every end has its record, and no release outlives its end."""
        recorded = {(ref, r.kind, r.effect, r.wanted_at) for ref in self.images for r in self._records(ref)}
        assert not {*self.given} - recorded, "an order without its record"
        for ref in {*self.ends}:
            ended = [r for r in self._records(ref) if r.kind == ActionKind.ORDER_ENDED]
            assert len(ended) == self.ends.count(ref), "an end without its record"
        for ref, word in self.words.items():
            if word.order.kind is not ActionType.RELEASE or not self.images[ref].current.exists:
                continue
            assert word.releases(self.moment), "a release without end"
            never_restored = all(one.activated_at is None for one in (self.header(ref), *self.below(ref)))
            turned = self._has_turned(word, ref, at_most=False) if never_restored else ""
            assert not turned, f"a release stands, and {turned}"

    def _records(self, ref: ImageRef) -> list[Any]:
        return [row.record for row in self.audit.of_chain(ref)]


def _identity(order: Order | None) -> object:
    return None if order is None else order.identity
