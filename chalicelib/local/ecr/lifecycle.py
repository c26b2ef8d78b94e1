"""Lifecycle policies of the local ECR: kept as ECR keeps them, and previewed. They are never run.

moto knows an older grammar and no previews. What a rule selects is worked out here once more, in the plainest way, so
that whoever compares it with our own evaluation compares two answers and not one with itself.
"""

from __future__ import annotations

import base64
import fnmatch
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ecr.exceptions import InvalidParameterException, LifecyclePolicyNotFoundException

from chalicelib.domain.retention.lifecycle_policy import parse_lifecycle_policy
from chalicelib.errors import RefusedPayloadError
from chalicelib.local.ecr.blobs import EcrRefusal

if TYPE_CHECKING:
    from chalicelib.local.ecr.ecr import HeldImage, LocalEcr

ROWS = 100
NO_PREVIEW = "LifecyclePolicyPreviewNotFoundException"
_PREVIEW = "lifecycle_preview"
_STORED = {"standard": "ACTIVE", "archive": "ARCHIVED"}


class LifecycleAnswers:
    """ECR's requests about lifecycle policies, for the class that answers ECR's requests to inherit."""

    _get_param: Any
    answer: type[ActionResult]

    @property
    def ecr_backend(self) -> LocalEcr:
        """The registry that is asked for."""
        raise NotImplementedError

    def put_lifecycle_policy(self) -> ActionResult:
        name, text = self._get_param("repositoryName"), self._get_param("lifecyclePolicyText")
        home = self.ecr_backend.home(name)
        _checked(text)
        home.lifecycle_policy = text
        return self.answer({"registryId": home.registry_id, "repositoryName": name, "lifecyclePolicyText": text})

    def start_lifecycle_policy_preview(self) -> ActionResult:
        name = self._get_param("repositoryName")
        home = self.ecr_backend.home(name)
        text = self._get_param("lifecyclePolicyText") or home.lifecycle_policy
        if not text:
            raise LifecyclePolicyNotFoundException(name, home.registry_id)
        _checked(text)
        vars(home)[_PREVIEW] = text
        return self.answer(_about(home, text, "IN_PROGRESS"))

    def get_lifecycle_policy_preview(self) -> ActionResult:
        """COMPLETE at once: whoever waits is played by tests of the adapter."""
        name = self._get_param("repositoryName")
        home = self.ecr_backend.home(name)
        text = vars(home).get(_PREVIEW)
        if text is None:
            raise EcrRefusal(NO_PREVIEW, f"There is no preview for the repository {name}")
        images: Any = home.images  # moto's type; ours are in it
        rows = preview(json.loads(text), images, self.ecr_backend.clock.now())
        token, size = self._get_param("nextToken"), int(self._get_param("maxResults") or ROWS)
        start = int(base64.b64decode(token)) if token else 0
        answer = {
            **_about(home, text, "COMPLETE"),
            "previewResults": rows[start : start + size],
            "summary": {"expiringImageTotalCount": sum(row["action"]["type"] == "EXPIRE" for row in rows)},
        }
        if start + size < len(rows):
            answer["nextToken"] = base64.b64encode(str(start + size).encode()).decode()
        return self.answer(answer)


def preview(policy: dict[str, Any], images: Iterable[HeldImage], now: datetime) -> list[dict[str, Any]]:
    """One row for each image that the policy would take, oldest push first."""
    there = {image.image_digest: image for image in images}
    free = {digest for digest, image in there.items() if image.subject not in there}
    rows: dict[str, dict[str, Any]] = {}
    for rule in sorted(policy["rules"], key=lambda r: int(r["rulePriority"])):
        mine = [there[digest] for digest in there if _selects(rule["selection"], there[digest])]
        for image in _marked(rule["selection"], [i for i in mine if i.subject not in there], now):
            if image.image_digest in free:
                rows[image.image_digest] = _row(rule, image)
        free -= {image.image_digest for image in mine}
    _settle(rows, there)
    return sorted(rows.values(), key=lambda row: (row["imagePushedAt"], row["imageDigest"]))


def _selects(selection: dict[str, Any], image: HeldImage) -> bool:
    if image.status != _STORED[selection.get("storageClass", "standard")]:
        return False
    tags, status = image.image_tags, selection["tagStatus"]
    patterns = selection.get("tagPatternList") or [f"{p}*" for p in selection.get("tagPrefixList") or []]
    met = all(any(fnmatch.fnmatchcase(tag, p.replace("[", "[[]")) for tag in tags) for p in patterns)
    return met and (status == "any" or (status == "tagged") == bool(tags))


def _marked(selection: dict[str, Any], images: list[HeldImage], now: datetime) -> list[HeldImage]:
    number = int(selection["countNumber"])
    if selection["countType"] == "imageCountMoreThan":
        return sorted(images, key=lambda i: (i.pushed_at, i.image_digest))[: max(0, len(images) - number)]
    before = now - timedelta(days=number)
    return [image for image in images if _clock(image, selection["countType"], now) < before]


def _clock(image: HeldImage, count_type: str, now: datetime) -> datetime:
    restored = image.activated_at or image.pushed_at
    if count_type == "sinceImagePushed":
        return restored
    if count_type == "sinceImagePulled":
        return max(image.pulled_at or image.pushed_at, restored)
    return image.archived_at or now


def _settle(rows: dict[str, dict[str, Any]], there: dict[str, HeldImage]) -> None:
    """Referrers go with their subject; then whatever an index that stays still needs stays, and so on."""
    while more := {d: rows[i.subject] for d, i in there.items() if i.subject in rows and d not in rows}:
        rows |= {digest: {**row, **_named(there[digest])} for digest, row in more.items()}
    while held := [d for d in rows if _is_held(there[d], rows[d]["action"]["type"], rows, there)]:
        for digest in held:
            del rows[digest]


def _is_held(image: HeldImage, action: str, rows: Mapping[str, Any], there: Mapping[str, HeldImage]) -> bool:
    """An archived index cannot be pulled: its images may follow it into the archive, and not be deleted."""
    if image.subject in there and image.subject not in rows:
        return True
    staying = [i for digest, i in there.items() if digest not in rows and image.image_digest in _inside(i)]
    return any(action == "EXPIRE" or index.status != "ARCHIVED" for index in staying)


def _inside(image: HeldImage) -> set[str]:
    return {one["digest"] for one in json.loads(image.image_manifest).get("manifests") or ()}


def _row(rule: dict[str, Any], image: HeldImage) -> dict[str, Any]:
    action = rule["action"]
    target = {"targetStorageClass": "ARCHIVE"} if action["type"] == "transition" else {}
    return {
        **_named(image),
        "action": {"type": action["type"].upper(), **target},
        "appliedRulePriority": int(rule["rulePriority"]),
        "storageClass": "ARCHIVE" if image.status == "ARCHIVED" else "STANDARD",
    }


def _named(image: HeldImage) -> dict[str, Any]:
    return {
        "imageDigest": image.image_digest,
        "imageTags": list(image.image_tags),
        "imagePushedAt": image.pushed_at.astimezone(UTC).timestamp(),
    }


def _about(home: Any, text: str, status: str) -> dict[str, Any]:
    return {
        "registryId": home.registry_id,
        "repositoryName": home.name,
        "lifecyclePolicyText": text,
        "status": status,
    }


def _checked(text: str) -> None:
    try:
        parse_lifecycle_policy(text)
    except RefusedPayloadError as error:
        raise InvalidParameterException(f"Invalid parameter at 'LifecyclePolicyText': {error}") from None
