"""What a lifecycle policy selects, computed a second time, as plainly as possible, to compare our evaluation with."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.retention.image import RetainedImage
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct

STORED = {"standard": "ACTIVE", "archive": "ARCHIVED"}
ACTIONS = {"expire": "expire", "transition": "archive"}


def native_acts(policy: dict[str, Any], images: Iterable[RetainedImage], now: datetime) -> dict[str, NativeAct]:
    """By digest; kept images are absent. `policy`: its JSON."""
    there = {image.digest: image for image in images}
    free = {digest for digest, image in there.items() if image.subject not in there}
    acts: dict[str, NativeAct] = {}
    for rule in sorted(policy["rules"], key=lambda r: int(r["rulePriority"])):
        mine = [image for image in there.values() if _selects(rule["selection"], image)]
        for image in _marked(rule["selection"], [i for i in mine if i.subject not in there], now):
            if image.digest in free:
                acts[image.digest] = NativeAct(ACTIONS[rule["action"]["type"]], int(rule["rulePriority"]))
        free -= {image.digest for image in mine}
    _add_referrers_and_keep_children(acts, there)
    return acts


def _selects(selection: dict[str, Any], image: RetainedImage) -> bool:
    if image.storage.value != STORED[selection.get("storageClass", "standard")]:
        return False
    tags, status = image.tags, selection["tagStatus"]
    patterns = selection.get("tagPatternList") or [f"{p}*" for p in selection.get("tagPrefixList") or []]
    met = all(any(fnmatch.fnmatchcase(tag, p.replace("[", "[[]")) for tag in tags) for p in patterns)
    return met and (status == "any" or (status == "tagged") == bool(tags))


def _marked(selection: dict[str, Any], images: list[RetainedImage], now: datetime) -> list[RetainedImage]:
    number = int(selection["countNumber"])
    if selection["countType"] == "imageCountMoreThan":
        return sorted(images, key=lambda i: (i.pushed_at, i.digest))[: max(0, len(images) - number)]
    before = now - timedelta(days=number)
    return [image for image in images if _clock(image, selection["countType"], now) < before]


def _clock(image: RetainedImage, count_type: str, now: datetime) -> datetime:
    pushed_at = image.pushed_at or now
    restored = image.activated_at or pushed_at
    if count_type == "sinceImagePushed":
        return restored
    if count_type == "sinceImagePulled":
        return max(image.pulled_at or pushed_at, restored)
    return image.archived_at or now


def _add_referrers_and_keep_children(acts: dict[str, NativeAct], there: Mapping[str, RetainedImage]) -> None:
    """Referrers go with their subject; an image stays while an index that stays needs it."""
    while more := {d: acts[i.subject] for d, i in there.items() if i.subject in acts and d not in acts}:
        acts |= more
    while held := [d for d in acts if _is_held(there[d], acts[d].action, acts, there)]:
        for digest in held:
            del acts[digest]


def _is_held(image: RetainedImage, action: str, acts: Mapping[str, Any], there: Mapping[str, RetainedImage]) -> bool:
    """An archived index cannot be pulled: its images may be archived too, but not be deleted."""
    if image.subject in there and image.subject not in acts:
        return True
    staying = [i for digest, i in there.items() if digest not in acts and image.digest in (i.contains or ())]
    return any(action == "expire" or index.storage.value != "ARCHIVED" for index in staying)
