"""The image line: the images of one repository whose tags are of one form, ordered by push.

Semantic versions of one major version are a line; all other tags of the repository, and untagged images, are one more.

What a private image says of the same digest in a public repository. Pure.

Its verdict is taken over, but for what is excused by nobody who vouches for the public repository: a waiver is given
for repositories, and whoever gave one for a private place did not vouch for what all the world may pull. And one that
is deleted does not soften: what closed the doors goes on to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Decision, Reason, SameDigestVerdict, Verdict, VerdictSummary
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver

_SEMANTIC = re.compile(r"v?(\d{1,9})\.\d+(?:\.\d+)?(?:[-+.].*)?")


def line_name(tags: Iterable[str]) -> str:
    """`v1` for the semantic versions 1.x, `*` for everything else. An image with both forms is of its semantic line."""
    majors = sorted(int(m[1]) for tag in tags if (m := _SEMANTIC.fullmatch(tag)))
    return f"v{majors[-1]}" if majors else "*"


def neighbours(header: Header, repository: Iterable[Header]) -> tuple[Header | None, Header | None]:
    """The next older and the next newer image of the header's line, by push; None where there is none."""
    if header.pushed_at is None:
        return None, None
    line, mine = line_name(header.tags), (header.pushed_at, header.ref.digest)
    elder = younger = None
    for other in repository:
        if other.kind is not Kind.IMAGE or not other.exists or other.pushed_at is None or other.ref == header.ref:
            continue
        if other.platform != header.platform or line_name(other.tags) != line:
            continue
        theirs = (other.pushed_at, other.ref.digest)
        if theirs < mine and (elder is None or theirs > _order(elder)):
            elder = other
        if theirs > mine and (younger is None or theirs < _order(younger)):
            younger = other
    return elder, younger


def _order(header: Header) -> tuple[object, str]:
    return header.pushed_at, header.ref.digest


def has_last_word(twin: Header) -> bool:
    """Whether it is gone and still counts: it had closed the doors, or somebody had excused what would have. Whom that
    excuse does not cover, for him it still does."""
    excused = twin.verdict is not None and bool(twin.verdict.waived)
    return not twin.present and (twin.decision.closes_doors or excused)


def as_same_digest(
    twin: Header, verdict: Verdict | None, repository: str, policy: Policy, waivers: Sequence[Waiver], now: datetime
) -> VerdictSummary:
    """`verdict`: the twin's own, by this policy; `repository`: the name of the public one."""
    if verdict is None:
        return VerdictSummary(Decision.PENDING)
    last = max(at for at in (verdict.decided_at, twin.refreshed_at) if at is not None)
    decision, waived, uncovered = verdict.decision, set[str](), set[str]()
    punished = {rule.id: rule.decision for rule in policy.rules}
    for reason in verdict.reasons:
        counted = punished.get(reason.rule, reason.decision)
        if not reason.waived or counted.rank <= reason.decision.rank:
            continue
        excusing, lacking = _excusing(reason, repository, waivers, now)
        if lacking:
            decision = max(decision, counted, key=lambda d: d.rank)
            uncovered |= lacking
        else:
            waived |= excusing
    told = verdict.standing if verdict.decision.closes_doors else VerdictSummary(decision)
    names = tuple(sorted(waived)), tuple(sorted(uncovered))
    return SameDigestVerdict(decision, told.critical, told.kev, *names, judged_at=None if twin.present else last)


def _excusing(reason: Reason, repository: str, waivers: Iterable[Waiver], now: datetime) -> tuple[set[str], set[str]]:
    """The waivers by which the same is excused in the public repository, and those of the twin's that none is there
    for. Which of several the twin would have done without is not known: each must have one."""
    by_id = {waiver.id: waiver for waiver in waivers}
    here = [w for w in by_id.values() if w.in_force(now) and w.covers(repository)]
    excusing, lacking = set[str](), set[str]()
    for name in reason.waived:
        given = by_id.get(name)
        found = {w.id for w in here if given is not None and w.names_as(given)}
        excusing |= found
        if not found:
            lacking.add(name)
    return excusing, lacking
