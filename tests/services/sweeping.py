"""A registry that lives for two days, told by events or found by a sweep, before the deployed services.

Everything but AWS itself is what is deployed; AWS is played (`bench.swept`), and the table moto's.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

import boto3

from bench import announcements, payloads
from bench.generate import DAY, FIRST_DAY, ImageState, Plan, events, image
from bench.swept import Listed, SweptPlace, shared
from bench.world import CREDENTIALS, TABLE
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep
from chalicelib.domain.images.image import Repository
from tests.fakes.moto_aws import mock_aws

POLICY = (
    "version: 1\nmode: observe\nrules:\n"
    "  - {id: critical, match: {severity: {gte: CRITICAL}, fix_available: true}, decision: quarantine}\n"
    "  - {id: many, match: {severity: HIGH}, count: {gte: 3}, decision: block}\n"
    "  - {id: likely, match: {epss: {gte: 0.5}}, decision: warn}\n"
    "notify: [{channel: sns, min_decision: block}]\n"
)
REPOSITORIES = 3


@contextmanager
def swept(shown: Listed, at: float = FIRST_DAY + 2 * 3_600, policy: str = POLICY) -> Iterator[SweptPlace]:
    with patch.dict(os.environ, CREDENTIALS), mock_aws():
        create_table(boto3.client("dynamodb"), TABLE)
        yield SweptPlace(shown, at, policy)


def reconcile(place: SweptPlace) -> Counter[str]:
    """One sweep of the whole registry, and all that follows from it; what was found, by kind."""
    place.results.clear()
    place.deliver("sweeps", [PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now())])
    place.settle()
    assert not [r.error for r in place.results if r.error]
    found: Counter[str] = Counter()
    for result in place.results:
        found.update(result.found)
    return found


def state(place: SweptPlace) -> dict[str, Any]:
    """What is stored of each image that exists, and each tag that points at one: all but times of resolution and
    numbers of verdicts."""
    found: dict[str, Any] = {}
    for repository in {s.repository for s in place.aws.registry.states.values()} | {"team/service-0"}:
        home = Repository(payloads.ACCOUNT, payloads.REGION, repository)
        for header in place.context.table.headers_of(home):
            if not header.exists:
                continue
            findings = [f for f in place.context.table.read_document(header.ref).findings if f.open]
            reasons = header.verdict.reasons if header.verdict else ()
            found[header.ref.path] = {
                "findings": sorted(
                    (f.source_finding_id, f.severity, f.score, f.epss, f.fix_available, f.exploit_available, f.packages)
                    for f in findings
                ),
                "counts": header.counts,
                "suppressed": header.suppressed,
                "tags": header.tags,
                "kind": header.kind,
                "pushed_at": header.pushed_at,
                "scan": (header.scan.state, header.scan.reason, header.scan.source),
                "decision": header.decision,
                "reasons": [(r.rule, r.decision, r.detail, r.count, r.vulnerability_ids) for r in reasons],
            }
        tags = place.context.queries.tags(home, limit=100).items
        found |= {f"{home.path}:{row.tag}": row.digest for row in tags if row.digest is not None}
    return found


class History:
    """Two days of a registry: pushed and scanned; a day later findings changed, images were pushed, deleted, and tags
    moved. `told` holds all events of each day."""

    def __init__(self, seed: int, images: int = 7, news: int = 3, findings: int = 8) -> None:
        self.plan, self.news = Plan(images=images, findings=findings, seed=seed, churn=(0.7, 0.2)), news
        self.first = Listed(self.plan, shared(self.plan, REPOSITORIES))
        pushes = [announcements.push_event(s) for s in self.first.states.values()]
        scans = [announcements.scan_event(s) for s in self.first.states.values()]
        changes = [self._renamed(e) for e in events(self.plan)]
        self.told = [[*pushes, *scans, *changes]]
        self._second(seed)

    def _second(self, seed: int) -> None:
        later = replace(self.plan, day=1)
        states = {s.digest: s for s in shared(later, REPOSITORIES)}
        deleted, moved, *_ = Random(seed).sample(sorted(states), 4)
        news = [self._new(n) for n in range(self.plan.images, self.plan.images + self.news)]
        taken = next((n for n in news if n.repository == states[moved].repository), None)
        told = [self._renamed(e) for e in events(later)]
        told += [announcements.rescan_event(s) for s in states.values()]
        told += [announcements.push_event(s) for s in news] + [announcements.scan_event(s) for s in news]
        told += [announcements.finding_event(later, s, row, row.arn[-32:]) for s in news for row in s.findings]
        if taken is not None:
            tag = states[moved].tags[0]
            states[moved] = replace(states[moved], tags=())
            news[news.index(taken)] = replace(taken, tags=(*taken.tags, tag))
            told.append(self._action(taken, "PUSH", tag))
        told.append(self._action(states.pop(deleted), "DELETE", None))
        told = [e for e in told if not any(deleted in str(r) for r in e["resources"])]
        self.second = Listed(later, [*states.values(), *news])
        self.told.append(told)

    def _new(self, number: int) -> ImageState:
        made = image(self.plan, number)
        at = FIRST_DAY + DAY + 600 + number
        rows = tuple(replace(f, first_observed_at=at + 60, updated_at=at + 60) for f in made.findings)
        repository = f"team/service-{number % REPOSITORIES}"
        return replace(made, pushed_at=at, scanned_at=at + 60, findings=rows, changed=rows, repository=repository)

    def _renamed(self, event: dict[str, Any]) -> dict[str, Any]:
        """The generator has a repository for each image."""
        arn = event["resources"][0]
        renamed = next(s for d, s in self.first.states.items() if arn.endswith(d))
        former = arn.partition(":repository/")[2].rpartition("/")[0]
        text = str(event).replace(former, renamed.repository)
        return eval(text, {}, {})

    @staticmethod
    def _action(of: ImageState, action: str, tag: str | None) -> dict[str, Any]:
        event = announcements.push_event(of)
        detail = {k: v for k, v in event["detail"].items() if k != "image-tag"} | {"action-type": action}
        at = payloads.date_text(FIRST_DAY + DAY + 2_000, "iso")
        return {
            **event,
            "id": f"{action}-{of.number}",
            "time": at,
            "detail": detail | ({"image-tag": tag} if tag else {}),
        }


def live(place: SweptPlace, history: History, kept: Sequence[Sequence[dict[str, Any]]]) -> None:
    """Both days go by; of each the events in `kept` arrive."""
    for day, (shown, told) in enumerate(zip((history.first, history.second), kept, strict=True)):
        place.aws.shown = shown
        place.clock.forward(max(0.0, FIRST_DAY + day * DAY + 2 * 3_600 - place.clock.now().timestamp()))
        place.deliver("scans", told)
        place.settle()
