"""The alerts of retention: a repository that was stopped, images that failed, what ECR expired by itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.text import sanitize, some_of
from chalicelib.domain.retention.plan import RetentionPlan

RETENTION = "retention"
NAMED = 10
_LONGEST = 300


def compose_stopped_alert(plan: RetentionPlan, now: datetime) -> Alert:
    """More would have gone than the policy allows at once, so nothing was taken."""
    name = plan.repository.name
    named = [f"{_short(f.image.digest)} {_tags(f.image.tags)}: {sanitize(f.why, _LONGEST)}" for f in plan.wanted]
    return Alert(
        event=RETENTION,
        title=f"Retention stopped: {sanitize(name, 80)}",
        at=now,
        repository=name,
        notes=(f"{sanitize(plan.stopped, _LONGEST)}. Nothing was taken.", *some_of(named, NAMED)),
        what_to_do=(
            f"See what would go, and why: lazaretto retention plan {name}",
            "If it is meant, raise `max_share` or `max_images` of the rule for one run.",
        ),
    )


def compose_failed_alert(plan: RetentionPlan, failed: Mapping[str, str], now: datetime) -> Alert:
    """`failed`: why an image of the plan was not taken, by digest."""
    name = plan.repository.name
    lines = [f"{_short(digest)}: {sanitize(why, _LONGEST)}" for digest, why in sorted(failed.items())]
    count = "1 image" if len(failed) == 1 else f"{len(failed)} images"
    return Alert(
        event=RETENTION,
        title=f"Retention: {count} could not be taken from {sanitize(name, 80)}",
        at=now,
        repository=name,
        notes=some_of(lines, NAMED),
        what_to_do=("The next run tries again.", f"lazaretto retention plan {name}"),
    )


def compose_lifecycle_alert(
    repository: Repository, lines: Sequence[str], now: datetime, *, archived: bool = False
) -> Alert:
    """ECR's own lifecycle policy expired, or archived, what runs or is evidence. `lines`: one an image."""
    name, back = repository.name, "push the image again under the same digest"
    title = "ECR expired images that run or are quarantined"
    if archived:
        title, back = (
            "ECR archived images that run or may run",
            "restore it in ECR (aws ecr update-image-storage-class)",
        )
    return Alert(
        event=RETENTION,
        title=f"{title}: {sanitize(name, 80)}",
        at=now,
        repository=name,
        notes=some_of([sanitize(line, _LONGEST) for line in lines], NAMED),
        what_to_do=(
            f"See what the native policy takes next: lazaretto retention native {name}",
            f"What runs goes on running, and cannot be pulled any more: {back}.",
        ),
    )


def _tags(tags: Sequence[str]) -> str:
    return sanitize(", ".join(tags[:3]), 100) if tags else "untagged"


def _short(digest: str) -> str:
    return digest[:19]
