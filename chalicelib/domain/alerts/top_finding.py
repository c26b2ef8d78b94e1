"""The few findings an alert names, worst first. How they are laid out is the channel's business."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.inert import inert
from chalicelib.domain.images.verdict import Decision, Verdict

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
    return (inert(text, _WORD_CHARACTERS) or None) if text else None
