"""The ways in which an image is answered, compared: list, image, verdict, gate and summary must say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from chalicelib.adapters.table.headers import row_of
from chalicelib.api.answers.answering import answer_image, answer_row, answer_verdict, images_behind
from chalicelib.domain.assessment.summary import summarize
from chalicelib.domain.headers.header import Header, weakest
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Decision
from tests.fakes.queries import NOW

TELLING = ("pending", "unscanned")
"""Rules whose reason says how the scan stands."""
OPEN = (Decision.ALLOW, Decision.WARN)


def disagreements(headers: Iterable[Header]) -> list[str]:
    """Of stored headers, in the words that the API makes of them; empty: none."""
    stored = {header.ref: header for header in headers if header.exists}
    reads: Any = SimpleNamespace(headers=lambda refs: {ref: stored[ref] for ref in refs if ref in stored})
    found, answered = [], []
    for header in stored.values():
        if header.kind is Kind.ARTIFACT:
            continue
        behind = images_behind(reads, header)
        row, image = answer_row(row_of(header)), answer_image(header, behind, ())
        verdict = answer_verdict(header, weakest(behind))
        said = {(row.decision, row.scan_state), (image.verdict.decision, image.scan.state)}
        said.add((verdict.decision, verdict.scan.state))
        if len(said) > 1:
            found.append(f"{header.ref.path}: {sorted(said)}")
        reasons = verdict.reasons if header.kind is Kind.IMAGE else ()
        found += [f"{header.ref.path}: {r.detail}" for r in reasons if not _tells(r, verdict.scan.state)]
        answered.append((verdict.decision, verdict.scan.state))
    summary = summarize((row_of(header) for header in stored.values() if header.kind is not Kind.ARTIFACT), NOW)
    if (+Counter(summary.decisions), +Counter(summary.scan_states)) != tuple(map(Counter, zip(*answered, strict=True))):
        found += [f"summary: {summary.decisions}, {summary.scan_states}"] if answered else []
    return found


def _tells(reason: Any, state: str) -> bool:
    return reason.rule not in TELLING or f"scan {state}" in reason.detail


def answered_differently(ask: Callable[..., Any], gate: Callable[[str], int], now: datetime) -> Iterator[str]:
    """Of all images of a deployment. `ask`: a GET of its API; `gate`: the exit code of `lazaretto gate` for an image.
    A summary may be a minute old: one that was not taken just now is passed over."""
    rows = ask("/v1/images", limit=1000)["images"]
    for row in rows:
        named = {name: row["image"][name] for name in ("registry", "region", "repository", "digest")}
        image, verdict = ask("/v1/image", **named), ask("/v1/verdict", **named)
        said = [
            (row["decision"], row["scan_state"]),
            (image["verdict"]["decision"], image["scan"]["state"]),
            (verdict["decision"], verdict["scan"]["state"]),
        ]
        if len(set(said)) > 1 or image["verdict"] != verdict:
            yield f"{named}: {said}"
        if gate(row["image"]["uri"]) != (0 if verdict["decision"] in OPEN else 1):
            yield f"{named}: {verdict['decision']} at the gate"
        for reason in verdict["reasons"]:
            if reason["rule"] in TELLING and f"scan {verdict['scan']['state']}" not in reason["detail"]:
                yield f"{named}: {reason}"
    summary = ask("/v1/summary")
    if datetime.fromisoformat(summary["taken_at"]) < now:
        return
    for name, key in (("decisions", "decision"), ("scan_states", "scan_state")):
        if +Counter(summary[name]) != Counter(row[key] for row in rows):
            yield f"summary: {summary[name]}"
