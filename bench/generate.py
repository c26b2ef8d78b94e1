"""A made-up registry: images, their findings over the days, and what a right pipeline must end with. Deterministic.

    python -m bench.generate OUT --images 50 --findings 200 [--day 1 --churn 0.15 0.02] [--shuffle --duplicate 0.2]

writes pages.jsonl (ListFindings), events.jsonl (`Inspector2 Finding`: day 0 all, later days what changed on that day),
scan_events.jsonl, basic_pages.jsonl (DescribeImageScanFindings), images.jsonl (DescribeImages), expected.jsonl.

A day changes a share of the images (first number of `--churn`) and in each a share of its findings (second number).
`--ties`: that share of the changes is told twice with one `updatedAt` and two contents; the listing has the right one.
What the payloads look like is `payloads.py`'s business.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import announcements, payloads
from bench.vulnerabilities import BASES, Vulnerability, base, catalogue

FIRST_DAY = 1_767_225_600  # 2026-01-01T00:00:00Z
DAY = 86_400
SHARE_OF_BASE = 0.8
CHANGES = {"close": 35, "severity": 15, "epss": 25, "fix": 15, "suppress": 5, "exploit": 5}


@dataclass(frozen=True)
class Plan:
    """What to generate. `churn`: share of images, and of their findings, that change on a day."""

    images: int = 50
    findings: int = 200
    seed: int = 1
    day: int = 0
    churn: tuple[float, float] = (0.15, 0.02)
    shuffle: bool = False
    duplicate: float = 0.0
    variety: bool = False
    ties: float = 0.0
    dates: str = "iso"


@dataclass(frozen=True)
class FindingState:
    """One finding of one image as of a day. Times are seconds since 1970."""

    vulnerability: Vulnerability
    arn: str
    status: str
    severity: str
    score: float | None
    epss: float | None
    fixed: str
    exploited: bool
    first_observed_at: int
    updated_at: int


@dataclass(frozen=True)
class ImageState:
    """`changed`: the findings that changed on the plan's day (day 0: all)."""

    number: int
    repository: str
    digest: str
    tags: tuple[str, ...]
    pushed_at: int
    scanned_at: int
    layers: tuple[str, ...]
    findings: tuple[FindingState, ...]
    changed: tuple[FindingState, ...]

    @property
    def arn(self) -> str:
        return f"{payloads.repository_arn(self.repository)}/{self.digest}"


def images(plan: Plan) -> Iterator[ImageState]:
    return (image(plan, number) for number in range(plan.images))


def image(plan: Plan, number: int) -> ImageState:
    rng = random.Random(f"{plan.seed}/image/{number}")
    digest = _digest(plan.seed, "image", number)
    pushed_at = FIRST_DAY + rng.randrange(3_600)
    findings = tuple(_first(plan, digest, v, pushed_at + 60) for v in _vulnerabilities(plan, number, rng))
    changed = findings
    for day in range(1, plan.day + 1):
        findings, changed = _next_day(plan, number, digest, findings, day)
    layers = tuple(_digest(plan.seed, f"base/{number % BASES}", n) for n in range(4))
    return ImageState(
        number=number,
        repository=f"team-{number % 20}/service-{number}",
        digest=digest,
        tags=(f"1.{number % 7}.{number}",) if not plan.variety or number % 5 else (),
        pushed_at=pushed_at,
        scanned_at=pushed_at + 60 + plan.day * DAY,
        layers=(*layers, _digest(plan.seed, "layer", number)),
        findings=findings,
        changed=changed,
    )


def events(plan: Plan) -> Iterator[dict[str, Any]]:
    """`Inspector2 Finding` events of the plan's day, in the order and as often as the plan says."""
    made = (event for state in images(plan) for event in _events_of(plan, state))
    if not plan.shuffle and not plan.duplicate:
        return made
    rng = random.Random(f"{plan.seed}/order/{plan.day}")
    told = [event for event in made for _ in range(2 if rng.random() < plan.duplicate else 1)]
    if plan.shuffle:
        rng.shuffle(told)
    return iter(told)


def expected(state: ImageState) -> dict[str, Any]:
    """What must be stored of the image: each finding's status, severity, score, EPSS and fix, and the open counts."""
    rows = {
        f.arn: {
            "vulnerability_id": f.vulnerability.id,
            "status": payloads.OUR_STATUS[f.status],
            "severity": payloads.our_severity(f.severity),
            "score": f.score,
            "epss": None if f.epss is None else round(f.epss, 2),
            "fix_available": f.fixed,
        }
        for f in state.findings
    }
    counts = Counter(row["severity"] for row in rows.values() if row["status"] == "OPEN")
    return {"arn": state.arn, "findings": rows, "counts": dict(counts)}


def _vulnerabilities(plan: Plan, number: int, rng: random.Random) -> list[Vulnerability]:
    shared = base(plan.seed, number % BASES)[: round(plan.findings * SHARE_OF_BASE)]
    found = {v.id: v for v in shared}
    known = catalogue(plan.seed)
    while len(found) < plan.findings:
        extra = rng.choice(known)
        found.setdefault(extra.id, extra)
    return list(found.values())


def _first(plan: Plan, digest: str, vulnerability: Vulnerability, at: int) -> FindingState:
    name = hashlib.sha256(f"{plan.seed}/{digest}/{vulnerability.id}".encode()).hexdigest()[:32]
    return FindingState(
        vulnerability=vulnerability,
        arn=f"arn:aws:inspector2:{payloads.REGION}:{payloads.ACCOUNT}:finding/{name}",
        status="ACTIVE",
        severity=vulnerability.severity,
        score=vulnerability.score,
        epss=vulnerability.epss,
        fixed=vulnerability.fixed,
        exploited=vulnerability.exploited,
        first_observed_at=at,
        updated_at=at,
    )


Findings = tuple[FindingState, ...]


def _next_day(plan: Plan, number: int, digest: str, findings: Findings, day: int) -> tuple[Findings, Findings]:
    rng = random.Random(f"{plan.seed}/day/{day}/{number}")
    share_of_images, share_of_findings = plan.churn
    if rng.random() >= share_of_images:
        return findings, ()
    at = FIRST_DAY + day * DAY + rng.randrange(3_600)
    touched = set(rng.sample(range(len(findings)), max(1, round(len(findings) * share_of_findings))))
    after = [_changed(rng, f, at) if n in touched else f for n, f in enumerate(findings)]
    fresh = rng.choice(catalogue(plan.seed))
    if all(f.vulnerability.id != fresh.id for f in findings):
        after.append(_first(plan, digest, fresh, at))
    return tuple(after), tuple(f for f in after if f.updated_at == at)


def _changed(rng: random.Random, state: FindingState, at: int) -> FindingState:
    if state.status == "CLOSED":
        return replace(state, status="ACTIVE", updated_at=at)
    match rng.choices(list(CHANGES), list(CHANGES.values()))[0]:
        case "close":
            return replace(state, status="CLOSED", updated_at=at)
        case "severity":
            return replace(state, severity="HIGH" if state.severity != "HIGH" else "CRITICAL", updated_at=at)
        case "epss":
            return replace(state, epss=round(rng.random(), 5), updated_at=at)
        case "fix":
            return replace(state, fixed="NO" if state.fixed == "YES" else "YES", updated_at=at)
        case "suppress":
            return replace(state, status="SUPPRESSED", updated_at=at)
    return replace(state, exploited=not state.exploited, updated_at=at)


def _events_of(plan: Plan, state: ImageState) -> Iterator[dict[str, Any]]:
    for finding in state.changed:
        rng = random.Random(f"{plan.seed}/event/{plan.day}/{finding.arn}")
        if rng.random() < plan.ties:
            other = replace(finding, epss=round(rng.random(), 5), severity="LOW")
            yield announcements.finding_event(plan, state, other, f"{finding.arn[-32:]}-tie")
        yield announcements.finding_event(plan, state, finding, finding.arn[-32:])


def _digest(*words: object) -> str:
    return "sha256:" + hashlib.sha256("/".join(map(str, words)).encode()).hexdigest()


def _write(path: Path, rows: Iterable[Any]) -> None:
    with path.open("w") as out:
        out.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for name, kind in (("images", int), ("findings", int), ("seed", int), ("day", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Plan, name))
    parser.add_argument("--churn", type=float, nargs=2, default=Plan.churn, metavar=("IMAGES", "FINDINGS"))
    parser.add_argument("--duplicate", type=float, default=0.0)
    parser.add_argument("--ties", type=float, default=0.0)
    parser.add_argument("--dates", choices=("iso", "long", "short", "mixed"), default="iso")
    for flag in ("shuffle", "variety"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = vars(parser.parse_args())
    out: Path = options.pop("out")
    plan = Plan(**{**options, "churn": tuple(options["churn"])})
    out.mkdir(parents=True, exist_ok=True)
    states = list(images(plan))
    _write(out / "pages.jsonl", (page for s in states for page in payloads.finding_pages(plan, s)))
    _write(out / "events.jsonl", events(plan))
    _write(out / "scan_events.jsonl", (announcements.scan_event(s) for s in states if plan.day == 0))
    _write(out / "basic_pages.jsonl", (payloads.basic_page(s) for s in states))
    _write(out / "images.jsonl", (payloads.image_page(s) for s in states))
    _write(out / "expected.jsonl", map(expected, states))


if __name__ == "__main__":
    main()
