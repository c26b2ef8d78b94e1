"""An alert: what one channel is given, the words and the few findings in it, and which routes hear it. Pure.

`verdict_alert.py` composes those of verdicts, `enforcement/act_report.py` those of acts, other modules the rest; the
channel lays them out. That there are no open findings is said only where everything was listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Kind
from chalicelib.domain.images.text import Globs, sanitize
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.section import Route

NOT_KNOWN = "not known: no complete scan yet"


def open_words(kind: Kind, listed: bool, counts: Sequence[int]) -> str | None:
    """None where there is nothing to say. Without a complete listing (`listed`) counts are what was heard of so far."""
    if kind is Kind.INDEX:
        return "see its images"
    if listed:
        return _count_words(counts) if counts else None
    return f"{NOT_KNOWN}; heard of so far: {_count_words(counts)}" if any(counts) else NOT_KNOWN


def summary_words(counts: Sequence[int] | None) -> str:
    """`counts` None: never listed whole, or an index; a summary does not know which."""
    return "open findings not known, or those of its images" if counts is None else _count_words(counts)


def _count_words(counts: Sequence[int]) -> str:
    return ", ".join(f"{n} {s}" for s, n in zip(Severity, counts, strict=False) if n) or "none"


MAX_FINDINGS = 5
_WORD_CHARACTERS = 100


class TopFinding(msgspec.Struct, frozen=True):
    """A finding as people read it: absent facts are None and are not shown as zero or no."""

    id: str
    severity: Severity
    package: str | None = None
    version: str | None = None
    fixed_version: str | None = None
    kev: bool | None = None
    epss: float | None = None
    score: float | None = None

    @property
    def line(self) -> str:
        where = f" in {self.package} {self.version or ''}".rstrip() if self.package else ""
        facts = [f"fixed in {self.fixed_version}" if self.fixed_version else "no fixed version known"]
        facts += ["known exploited"] if self.kev else []
        facts += [f"score {self.score:g}"] if self.score is not None else []
        facts += [f"EPSS {self.epss:.2f}"] if self.epss is not None else []
        return f"{self.severity} {self.id}{where}: {', '.join(facts)}"


def top_findings(
    verdict: Verdict, findings: Sequence[Finding], unknown_severity: Severity = Severity.MEDIUM
) -> tuple[tuple[TopFinding, ...], int]:
    """The worst, one row a vulnerability, those the reasons name first; and how many the widest reason matched.

    Resolved ones are never shown, suppressed ones only when a reason names them, none for ALLOW.
    """
    punishing = [r for r in verdict.reasons if r.decision is not Decision.ALLOW]
    if not punishing:
        return (), 0
    named = {i: n for n, i in enumerate(dict.fromkeys(i for r in punishing for i in r.vulnerability_ids))}
    shown = [f for f in findings if f.open or (f.status is FindingStatus.SUPPRESSED and f.vulnerability_id in named)]

    def badness(f: Finding) -> tuple[int, int, bool, float, float, bool, str]:
        rated = unknown_severity if f.severity is Severity.UNKNOWN else f.severity
        place, fixed = named.get(f.vulnerability_id, len(named)), any(p.fixed_version for p in f.packages)
        return (place, rated.digit, not f.kev, -(f.epss or 0), -(f.score or 0), not fixed, f.source_finding_id)

    by_id: dict[str, Finding] = {}
    for finding in sorted(shown, key=badness):
        by_id.setdefault(finding.vulnerability_id, finding)
    return tuple(_top(f) for f in list(by_id.values())[:MAX_FINDINGS]), max(r.count for r in punishing)


def _top(finding: Finding) -> TopFinding:
    package = next((p for p in finding.packages if p.fixed_version), next(iter(finding.packages), None))
    return TopFinding(
        id=_word(finding.vulnerability_id) or "?",
        severity=finding.severity,
        package=_word(package.name) if package else None,
        version=_word(package.version) if package else None,
        fixed_version=_word(package.fixed_version) if package else None,
        kev=finding.kev,
        epss=finding.epss,
        score=finding.score,
    )


def _word(text: str | None) -> str | None:
    return (sanitize(text, _WORD_CHARACTERS) or None) if text else None


VERDICT = "verdict"
MAX_TAGS = 5
_RUNNING = {InUseState.YES: "yes", InUseState.NO: "no", InUseState.UNKNOWN: "unknown, treated as running"}


class AlertReason(msgspec.Struct, frozen=True):
    """`count` findings matched; 0 for a rule about the image itself."""

    rule: str
    decision: Decision
    detail: str = ""
    count: int = 0
    kev: int = 0

    @property
    def line(self) -> str:
        matched = f" ({self.count} matched{f', {self.kev} known exploited' if self.kev else ''})" if self.count else ""
        return f"{self.decision} by {self.rule}: {self.detail}{matched}"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel is given. `event` is a word of `notify.events`; `ref` and `repository` are None for a summary.

    `former` is what people were last told (None: nothing); `worse`: the same decision again, because it got worse.
    `counts`: open findings in the order of `Severity`, () where there is nothing to say; `listed` False: no complete
    scan yet, so that they are what was heard of so far. `notes` are sentences; `number` the verdict's.
    `registry`: what was done to the image there, or keeps it from being done; `radius`: who and what hangs on it.
    `act`: it tells what became of an act, not of a verdict; `decision` is then the one by which routes are chosen,
    `stands` the verdict's. `links`: label and URL of the images that a summary names.
    """

    event: str
    title: str
    at: datetime
    ref: ImageRef | None = None
    repository: str | None = None
    tags: tuple[str, ...] = ()
    decision: Decision | None = None
    former: Decision | None = None
    worse: bool = False
    notes: tuple[str, ...] = ()
    reasons: tuple[AlertReason, ...] = ()
    findings: tuple[TopFinding, ...] = ()
    more_findings: int = 0
    counts: tuple[int, ...] = ()
    listed: bool = True
    kind: Kind = Kind.IMAGE
    running: InUseState | None = None
    registry: tuple[str, ...] = ()
    radius: tuple[str, ...] = ()
    what_to_do: tuple[str, ...] = ()
    console_url: str | None = None
    api_url: str | None = None
    number: int = 0
    act: bool = False
    stands: Decision | None = None
    links: tuple[tuple[str, str], ...] = ()

    @property
    def kev(self) -> bool:
        return any(f.kev for f in self.findings) or any(r.kev for r in self.reasons)

    @property
    def worst(self) -> Severity | None:
        return next((s for s, n in zip(Severity, self.counts, strict=False) if n), None)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Label and text, in the order to be shown."""
        told = "again, and worse" if self.worse else f"was {self.former}" if self.former else "first alert"
        said = f"verdict {self.number}" if self.act else f"{told}, verdict {self.number}"
        rows = (
            ("Decision", f"{self.stands or self.decision} ({said})" if self.ref and self.decision else None),
            ("Image", str(self.ref) if self.ref else None),
            ("Repository", None if self.ref else self.repository),
            ("Tags", _tag_words(self.tags) if self.ref else None),
            ("Running", _RUNNING[self.running] if self.running else None),
            ("Open findings", open_words(self.kind, self.listed, self.counts)),
            ("At", f"{self.at:%Y-%m-%d %H:%M:%S} UTC"),
        )
        return tuple((label, text) for label, text in rows if text is not None)


class AlertDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert about an image says beside its header. `findings`: those that may be shown. `registry`: what was
    done to the image there, and what is still to be; `left_alone`: why nothing is; `radius`: what hangs on it.
    `in_use`: who runs it, as looked up now; None: it was not looked up. `indexes`: how many hold it, and their tags."""

    findings: Sequence[Finding] = ()
    registry: Sequence[str] = ()
    left_alone: Sequence[str] = ()
    radius: Sequence[str] = ()
    in_use: InUse | None = None
    indexes: int = 0
    index_tags: Sequence[str] = ()


class AlertKey(msgspec.Struct, frozen=True):
    """Which alert it is: `effect` of the image `ref` or of the audit log's `subject`, first wanted at `wanted_at`.

    `effect` begins with ALERT or REPORT, the kind of its records; one record a channel has `#<channel>` behind it.
    """

    effect: str
    wanted_at: datetime
    ref: ImageRef | None = None
    subject: str = ""
    policy_version: int = 0

    @property
    def chain(self) -> ImageRef | str:
        """Of its records in the audit log."""
        return self.subject if self.ref is None else self.ref

    @property
    def kind(self) -> str:
        return self.effect.partition("#")[0]


def mark_of(lines: Iterable[str]) -> str:
    """Twelve hexadecimal digits that tell the key of an alert about these things, in this order, from other keys."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def hears(
    route: Route, event: str, repository: str | None, decision: Decision | None = None, former: Decision | None = None
) -> bool:
    """Whether the route wants it: event and repository (None: all of them) are its own, and the decision is loud, or
    what it heard last (`former`) was and no longer is. An event without a decision asks no `min_decision`."""
    if event not in route.events or (repository is not None and not Globs(route.repository).match(repository)):
        return False
    heard = [d for d in (decision, former) if d is not None]
    return not heard or any(d.rank >= route.min_decision.rank for d in heard)


def channels_hearing(
    routes: Sequence[Route],
    event: str,
    repository: str | None,
    decision: Decision | None = None,
    former: Decision | None = None,
) -> tuple[str, ...]:
    """The channels whose routes hear it, each once."""
    return tuple(dict.fromkeys(r.channel for r in routes if hears(r, event, repository, decision, former)))


def alert_reasons(verdict: Verdict | None) -> tuple[AlertReason, ...]:
    reasons = verdict.reasons if verdict is not None else ()
    return tuple(AlertReason(shortened(r.rule), r.decision, _said(r), r.count, r.kev) for r in reasons)


def titled(ref: ImageRef, tags: Sequence[str]) -> str:
    """The image as a title names it: by its first tag, else by the beginning of its digest."""
    return shortened(f"{ref.repository}:{tags[0]}" if tags else f"{ref.repository}@{ref.digest[:19]}")


def shortened(text: str) -> str:
    return sanitize(text, 100)


def _said(reason: Reason) -> str:
    waived = f"; waived by {', '.join(reason.waived)}" if reason.waived else ""
    return sanitize(f"{reason.detail}{waived}", 500)


def _tag_words(tags: Sequence[str]) -> str:
    rest = len(tags) - MAX_TAGS
    return (", ".join(shortened(t) for t in tags[:MAX_TAGS]) or "none") + (f" and {rest} more" if rest > 0 else "")
