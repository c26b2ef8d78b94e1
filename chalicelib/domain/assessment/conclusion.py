"""The conclusion for one image: the header as it must be put, from what is known of it, the rules and the time. Pure.

Effects are levels: what is to be done to the image follows from the verdict at every write (`enforcement.py`); only
alerts are edges, keyed by the verdict's number and carried over until the consumer that sent them removes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.assessment.announcement import announce, ended_alone
from chalicelib.domain.enforcement.enforcement import UNNEEDED, Needing, standing_order, with_next_act
from chalicelib.domain.headers.effect import Ended
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.sketch import sketch_of
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Standing, Verdict
from chalicelib.domain.policy.decision import decide

KEV_EVERY = timedelta(days=1)


def conclude(
    header: Header,
    document: FindingsDocument,
    rules: Rules,
    now: datetime,
    *,
    children: Sequence[Standing] = (),
    index_tags: Sequence[str] = (),
    needed_by: Needing = UNNEEDED,
    ended: Sequence[Ended | None] = (),
    quiet: bool = False,
) -> Header:
    """The header as it must be put: counts, sketch, verdict, when to decide again, what is still to be done.

    `children`: how the images of an index stand; it takes the worst. `index_tags`: the tags of the indexes that hold
    the image, by which its users know it. `needed_by`: what those keep from being done to it. `quiet`: one of many (a
    first fill, a policy change): the summary announces it. `ended`: of each of the children, the waivers by whose end
    alone it stands so, which people were not told yet.
    """
    header = msgspec.structs.replace(
        header,
        revision=document.revision,
        counts=count_open(document.findings),
        suppressed=sum(f.status is FindingStatus.SUPPRESSED for f in document.findings),
        sketch=sketch_of(document.findings),
        policy_version=rules.policy_version,
        waivers_version=rules.waivers_version,
    )
    if header.kind is Kind.ARTIFACT:
        header = msgspec.structs.replace(header, verdict=None, todo=tuple(e for e in header.todo if e.kind.acts))
    if header.kind is Kind.ARTIFACT or not header.present:
        header = msgspec.structs.replace(header, decide_at=None)
        return corrected(with_next_act(header, rules.policy, needed_by, now, quiet=quiet))
    outcome = decide(header.state(children, index_tags), document.findings, rules.policy, rules.waivers, now)
    decide_at = outcome.decide_at
    if rules.policy.asks_kev and any(f.open and rules.policy.asks(f) for f in document.findings):
        decide_at = min(decide_at or now + KEV_EVERY, _next_refresh(header.decide_at, now))
    header = msgspec.structs.replace(header, decide_at=decide_at)
    verdict = outcome.verdict.kept()
    if not verdict.same_as(header.verdict):
        turned = ended_alone(header, document.findings, rules, now, children, ended, index_tags)
        verdict = _numbered(verdict, header.verdict, rules, now)
        header = announce(header, verdict, turned, rules.policy.notify, now, quiet=quiet)
    header = msgspec.structs.replace(header, order=standing_order(header))
    quiet = quiet or header.left_to_summary is not None
    return with_due(with_next_act(header, rules.policy, needed_by, now, quiet=quiet), now)


def _next_refresh(stored: datetime | None, now: datetime) -> datetime:
    """When KEV facts are asked for again: what is planned already stays, or every write would move it."""
    return stored if stored is not None and now < stored <= now + KEV_EVERY else now + KEV_EVERY


def _numbered(verdict: Verdict, former: Verdict | None, rules: Rules, now: datetime) -> Verdict:
    number = former.number + 1 if former else 1
    return msgspec.structs.replace(verdict, number=number, policy_version=rules.policy_version, decided_at=now)


def with_due(header: Header, now: datetime | None = None) -> Header:
    """Keeps a `due_at` that would only move later: the clock corrects it in time, and an index write is saved.

    One that is past has done its work, or the clock would come again and again.
    """
    kept = header.due_at if header.due_at is not None and now is not None and header.due_at > now else None
    moments = [at for at in (*(e.due_at for e in header.todo), header.decide_at, kept) if at is not None]
    due = min(moments, default=None)
    return msgspec.structs.replace(header, due_at=due)


def corrected(header: Header) -> Header:
    """The header with `due_at` as it should be: for the clock, which has just come to it."""
    return with_due(header)


def count_open(findings: Iterable[Finding]) -> tuple[int, ...]:
    counts = [0] * len(Severity)
    for finding in findings:
        if finding.open:
            counts[finding.severity.digit] += 1
    return tuple(counts)
