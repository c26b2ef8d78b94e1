"""What a candidate policy would say of one image, now and on each past day, beside what today's policy says. Pure.

Now is decided as `conclusion.py` decides it, so that applying the candidate gives just that. A past day is decided as
of its last second (UTC), by the findings of then (`past.py`); what began and ended within one day is not seen.
`report.py` adds up the answers of many images.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import msgspec

from chalicelib.domain.assessment.conclusion import Grounds
from chalicelib.domain.assessment.scanned_copy import ScannedCopy
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.twin import Twin, lender_of, origin_verdicts, origins_of
from chalicelib.domain.images.finding import Finding, FindingsDocument
from chalicelib.domain.images.image import ImageRef, Kind, Source
from chalicelib.domain.images.verdict import WORST_KEPT, Decision, Reason, Verdict, VerdictSummary
from chalicelib.domain.policy.decision import RuleOutcome, decide
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.whatif.past import Past, PastNote, began, notes_at, state_at

_END_OF_DAY = time(23, 59, 59, tzinfo=UTC)


class WhatIfCase(msgspec.Struct, frozen=True):
    """An image with all that its decision hangs on. `indexes`: those that hold it.

    `children`: of an index, its images; None is one that was never heard of. Of a public image, its twins.
    """

    header: Header
    document: FindingsDocument
    indexes: tuple[Header, ...] = ()
    children: tuple[WhatIfCase | None, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """`today` is the policy in force. `moments`: the ends of the past days, oldest first, and last of all now.
    `known_since`: before it, some of the past may be forgotten; None: of none that is asked for. `account`: ours, as of
    `Rules`."""

    today: Policy
    candidate: Policy
    waivers: tuple[Waiver, ...]
    moments: tuple[datetime, ...]
    known_since: datetime | None = None
    account: str = ""


class Ruling(msgspec.Struct, frozen=True):
    """What one policy says at one moment; of its strongest reason, how many findings it is about and the worst ones."""

    decision: Decision
    rule: str | None = None
    detail: str = ""
    count: int = 0
    vulnerability_ids: tuple[str, ...] = ()

    @property
    def closes(self) -> bool:
        return self.decision.closes_doors


class Day(msgspec.Struct, frozen=True):
    """What both policies say of one past day. `notes`: what of it is not of that day."""

    day: date
    today: Ruling
    candidate: Ruling
    notes: tuple[PastNote, ...]


class Weighed(msgspec.Struct, frozen=True):
    """`past`: oldest day first; none before the image was pushed. `kev_open`: its answer under the candidate hangs on
    KEV that was not asked for yet: applying the candidate asks, and may decide otherwise."""

    today: Ruling
    candidate: Ruling
    past: tuple[Day, ...] = ()
    kev_open: bool = False


def moments_of(now: datetime, since_days: int) -> tuple[datetime, ...]:
    """The last second of each of the `since_days` days before today, and now."""
    first = now.astimezone(UTC).date() - timedelta(days=since_days)
    ends = (datetime.combine(first + timedelta(days=n), _END_OF_DAY) for n in range(since_days))
    return (*ends, now)


def weigh(film: Film) -> Weighed:
    """Its case must be one that is decided about: present, and no artifact."""
    header, question = film.case.header, film.question
    today, candidate = film.verdicts(question.today), film.verdicts(question.candidate)
    asks_kev = question.today.asks_kev or question.candidate.asks_kev
    known = question.known_since
    past = tuple(
        Day(at.date(), _ruling(former), _ruling(new), notes_at(header, at, asks_kev=asks_kev, known_since=known))
        for at, former, new in zip(question.moments[:-1], today.past, candidate.past, strict=True)
        if former is not None and new is not None
    )
    kev_open = _hangs_on_kev(film, question.candidate)
    return Weighed(_effective(today.now, header), _effective(candidate.now, header), past, kev_open)


class _Verdicts(NamedTuple):
    """`past`: one for each past moment, None before the image's past begins. `outcome`: of now."""

    past: list[Verdict | None]
    outcome: RuleOutcome

    @property
    def now(self) -> Verdict:
        return self.outcome.verdict


class _Stand(NamedTuple):
    """What a past decision hangs on beside the policy: while it is the same, and until `decide_at`, it stands."""

    turns: int
    children: tuple[VerdictSummary, ...]
    decide_at: datetime | None = None


class Film:
    """One image through all moments: what is read of its past is read once, for both policies. `films`: of the images
    below, each once, in however many indexes it lies."""

    def __init__(self, case: WhatIfCase, question: Question, films: dict[ImageRef, Film] | None = None) -> None:
        films = {} if films is None else films
        films[case.header.ref] = self
        self.case, self.question, self.moments = case, question, question.moments
        self.start = began(case.header)
        self.public = case.header.ref.home.public
        name = case.header.ref.repository
        self.waivers = tuple(w for w in question.waivers if self.public or w.covers(name))
        # Attestations and whatever else turned out to be no image do not count.
        members = [c for c in case.children if c is None or c.header.counts_in_index]
        self.children = [None if c is None else films.get(c.header.ref) or Film(c, question, films) for c in members]
        self._verdicts: dict[int, _Verdicts] = {}
        self._past = Past(case.document)
        self._turns = self._count_turns()
        self._findings: dict[int, tuple[Finding, ...]] = {}

    def below(self) -> list[Film]:
        """It and all the images that it holds, each once."""
        found, left = {id(self): self}, [self]
        while left:
            inner = [f for f in left.pop().children if f is not None and id(f) not in found]
            found |= {id(f): f for f in inner}
            left += inner
        return list(found.values())

    def verdicts(self, policy: Policy) -> _Verdicts:
        """`policy`: one of the question's."""
        if id(policy) not in self._verdicts:
            self._verdicts[id(policy)] = self._decide_all(policy)
        return self._verdicts[id(policy)]

    def _decide_all(self, policy: Policy) -> _Verdicts:
        """Decided anew only where something has changed."""
        if self.public:
            return self._decide_public(policy)
        standings = [self._standings(child, policy) for child in self.children]
        found: list[Verdict | None] = []
        last: _Stand | None = None
        for n, at in enumerate(self.moments[:-1]):
            if self.start is None or at < self.start:
                found.append(None)
                continue
            stand = _Stand(self._turns[n], tuple(of_child[n] for of_child in standings))
            if last is not None and last[:2] == stand[:2] and (last.decide_at is None or at < last.decide_at):
                found.append(found[-1])
                continue
            outcome = self._decide_then(n, stand.children, policy)
            found.append(outcome.verdict)
            last = stand._replace(decide_at=outcome.decide_at)
        state = self.case.header.state([of_child[-1] for of_child in standings], self.case.indexes)
        now = decide(state, self.case.document.findings, policy, self.waivers, self.moments[-1])
        return _Verdicts(found, now)

    def _decide_then(self, n: int, children: tuple[VerdictSummary, ...], policy: Policy) -> RuleOutcome:
        at = self.moments[n]
        if n not in self._findings:
            self._findings[n] = self._past.findings(at)
        waivers = [w for w in self.waivers if w.created_at <= at]
        state = state_at(self.case.header.state(children, self.case.indexes), at)
        return decide(state, self._findings[n], policy, waivers, at)

    def _standings(self, child: Film | None, policy: Policy) -> list[VerdictSummary]:
        """What it hears of one of its images at each moment."""
        if child is None:
            return [VerdictSummary(Decision.PENDING)] * len(self.moments)
        header, verdicts = child.case.header, child._last_verdicts(policy)
        standings = [VerdictSummary(Decision.PENDING if v is None else v.decision) for v in verdicts]
        return [*standings[:-1], VerdictSummary(msgspec.structs.replace(header, verdict=verdicts[-1]).judged)]

    def _last_verdicts(self, policy: Policy) -> list[Verdict | None]:
        """At each moment. One that is gone is not decided any more: its last verdict stays."""
        if not self.case.header.present:
            return [self.case.header.verdict] * len(self.moments)
        past, outcome = self.verdicts(policy)
        return [*past, outcome.verdict]

    def _decide_public(self, policy: Policy) -> _Verdicts:
        """As `_decide_public` of `write_header.py` does: by origins, else by the findings of a copy."""
        outcomes = [
            None if self.start is None or at < self.start else self._outcome_of_public(n, policy)
            for n, at in enumerate(self.moments[:-1])
        ]
        now = self._outcome_of_public(len(self.moments) - 1, policy)
        return _Verdicts([None if one is None else one.verdict for one in outcomes], now)

    def _outcome_of_public(self, n: int, policy: Policy) -> RuleOutcome:
        at = self.moments[n]
        rules = Rules(policy, tuple(w for w in self.waivers if w.created_at <= at), account=self.question.account)
        publication = rules.publication_of(self.case.header.ref.repository)
        films = {child.case.header.ref.path: child for child in self.children if child is not None}
        heard = tuple(child._as_twin(n, policy) for child in films.values())
        origins = origin_verdicts(origins_of(heard, publication), policy, rules.waivers, at)
        lender = None if any(not one.silent for one in origins) else lender_of(heard, publication)
        copy = None if lender is None else films[lender.path]._as_copy(n)
        header = msgspec.structs.replace(self.case.header, heard=heard)
        return Grounds(header, (), (), self.case.indexes, copy).outcome(rules, at)

    def _as_twin(self, n: int, policy: Policy) -> Twin:
        """Orders are known of today alone; what is pending is that of the policy in force."""
        header, verdict = self.case.header, self._last_verdicts(policy)[n]
        if verdict is None:
            return Twin(header.ref.path, present=True)
        order = header.order if n == len(self.moments) - 1 else None
        return msgspec.structs.replace(header, verdict=verdict, order=order, pending=(), queued=()).as_twin

    def _as_copy(self, n: int) -> ScannedCopy:
        """With the findings of then. An index within an index counts as one that nobody has heard of."""
        header, document = self.case.header, self.case.document
        if n < len(self.moments) - 1:
            header = msgspec.structs.replace(header, scan=state_at(header.state(), self.moments[n]).scan)
            document = msgspec.structs.replace(document, findings=self._past.findings(self.moments[n]))
        inner = (child for child in self.children if child is None or child.case.header.counts_in_index)
        images = (None if c is None or c.case.header.kind is Kind.INDEX else c._as_copy(n) for c in inner)
        return ScannedCopy(header, document, tuple(images))

    def _count_turns(self) -> list[int]:
        """How many changes there had been by each moment: of findings, of waivers, of what is known of scans."""
        scanned_at = self.case.header.scan.scanned_at
        known = () if scanned_at is None else (scanned_at,)
        turns = sorted((*self._past.turns, *(w.created_at for w in self.waivers), *known))
        return [bisect_right(turns, at) for at in self.moments]


def _ruling(verdict: Verdict) -> Ruling:
    return _led(verdict.decision, verdict.reasons)


def _effective(verdict: Verdict, header: Header) -> Ruling:
    """With the order that stands."""
    after = msgspec.structs.replace(header, verdict=verdict, pending=(), queued=())
    return _led(after.judged, after.reasons)


def _led(decision: Decision, reasons: Sequence[Reason]) -> Ruling:
    if not reasons:
        return Ruling(decision)
    first = reasons[0]
    return Ruling(decision, first.rule, first.detail, first.count, first.vulnerability_ids[:WORST_KEPT])


def _hangs_on_kev(film: Film, policy: Policy) -> bool:
    """Only Inspector is ever asked for KEV."""
    return policy.asks_kev and any(_asks_kev(one.case, policy) for one in film.below())


def _asks_kev(case: WhatIfCase, policy: Policy) -> bool:
    state = case.header.state(indexes=case.indexes)
    open_ones = (f for f in case.document.findings if f.open and f.kev is None and f.source is Source.ENHANCED)
    return any(policy.asks(f, state) for f in open_ones)
