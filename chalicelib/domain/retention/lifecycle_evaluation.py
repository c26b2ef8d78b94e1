"""What a native lifecycle policy would do to the images of a repository, as ECR documents it. Pure.

All rules mark images, and are then applied by priority. An image that meets the tag requirement of a rule belongs to
that rule: later ones may count it, and do not touch it. An image goes neither before an index that needs it nor without
its subject. Source: Amazon ECR User Guide, "Lifecycle policy evaluation rules"; that no rule selects a referrer itself
is our reading of "within 24 hours of its subject".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from chalicelib.domain.images.image import StorageStatus
from chalicelib.domain.retention.image import RetainedImage, names_subject
from chalicelib.domain.retention.lifecycle_policy import (
    COUNT,
    PULLED,
    PUSHED,
    LifecyclePolicy,
    LifecycleRule,
    Selection,
)

_STORED = {"standard": StorageStatus.ACTIVE, "archive": StorageStatus.ARCHIVED}


class NativeAct(msgspec.Struct, frozen=True):
    """`priority`: of the rule that acts; of a referrer, of the one that acts on its subject."""

    action: Literal["expire", "archive"]
    priority: int


def evaluate_lifecycle_policy(
    policy: LifecyclePolicy, images: Collection[RetainedImage], now: datetime
) -> dict[str, NativeAct]:
    """By digest; kept images are absent."""
    known = {image.digest: image for image in images}
    selectable = [image for image in known.values() if _subject(image) not in known]
    acts: dict[str, NativeAct] = {}
    taken: set[str] = set()
    for rule in policy.ordered:
        identified = [image for image in selectable if _is_meant(image, rule.selection)]
        for image in _marked(rule, identified, now):
            if image.digest not in taken:
                acts[image.digest] = NativeAct(
                    "expire" if rule.action.type == "expire" else "archive", rule.rule_priority
                )
        taken |= {image.digest for image in identified}
    _spare_needed(acts, known)
    acts = _followers(acts, known)
    _spare_needed(acts, known)
    return acts


def _is_meant(image: RetainedImage, what: Selection) -> bool:
    if image.storage is not _STORED[what.storage_class]:
        return False
    if what.tag_status != "tagged":
        return what.tag_status == "any" or not image.tags
    return all(any(_meets(tag, pattern) for tag in image.tags) for pattern in what.patterns)


def _meets(tag: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), tag, re.DOTALL) is not None


def _marked(rule: LifecycleRule, identified: list[RetainedImage], now: datetime) -> Iterator[RetainedImage]:
    what = rule.selection
    if what.count_type == COUNT:
        newest_first = sorted(identified, key=lambda image: image.age_order, reverse=True)
        yield from newest_first[what.count_number :]
        return
    for image in identified:
        since = _clock(image, what.count_type)
        if since is not None and now - since > timedelta(days=what.count_number):
            yield image


def _clock(image: RetainedImage, count_type: str) -> datetime | None:
    if count_type == PUSHED:
        return image.activated_at or image.pushed_at
    if count_type == PULLED:
        pulled, restored = image.pulled_at, image.activated_at
        if restored is not None and (pulled is None or pulled < restored):
            return restored
        return pulled or image.pushed_at
    return image.archived_at


def _spare_needed(acts: dict[str, NativeAct], known: Mapping[str, RetainedImage]) -> None:
    """An archived index keeps images from expiry, and not from the archive. Referrers of a spared image are spared."""
    while True:
        spared = {digest for image in known.values() if image.digest not in acts for digest in _holds(image, acts)}
        spared |= {d for d in acts if (subject := _subject(known[d])) in known and subject not in acts}
        if not spared:
            return
        for digest in spared:
            del acts[digest]


def _holds(index: RetainedImage, acts: Mapping[str, NativeAct]) -> Iterator[str]:
    for digest in index.contains or ():
        archived = index.storage is StorageStatus.ARCHIVED
        if digest in acts and not (archived and acts[digest].action == "archive"):
            yield digest


def _followers(acts: Mapping[str, NativeAct], known: Mapping[str, RetainedImage]) -> dict[str, NativeAct]:
    found = dict(acts)
    while True:
        more = {
            image.digest: found[subject]
            for image in known.values()
            if (subject := _subject(image)) in found and image.digest not in found
        }
        if not more:
            return found
        found |= more


def _subject(image: RetainedImage) -> str | None:
    """ECR does not know signatures by their tags: to it they are images."""
    tagged = bool(image.tags) and all(map(names_subject, image.tags))
    return None if tagged else image.subject
