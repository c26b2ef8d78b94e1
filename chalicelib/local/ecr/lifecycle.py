"""Lifecycle policies of the local ECR, their previews, and the principals whose pulls leave no pull time.

Policies are stored and previewed, never run. moto knows an older grammar, no previews and no exclusions. What a rule
selects is computed here again, as plainly as possible: tests compare it with our own evaluation.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ecr.exceptions import InvalidParameterException, LifecyclePolicyNotFoundException
from moto.ecr.responses import ECRResponse

from chalicelib.domain.retention.lifecycle_policy import parse_lifecycle_policy
from chalicelib.errors import RefusedPayloadError
from chalicelib.local.ecr.ecr import EcrRefusal, HeldImage, children_of
from chalicelib.local.pages import PlainAnswer, page_of

ROWS = 100
LONGEST_ARN = 200
NO_PREVIEW = "LifecyclePolicyPreviewNotFoundException"
_PREVIEW, _EXCLUSIONS = "lifecycle_preview", "pull_time_exclusions"
_STORED = {"standard": "ACTIVE", "archive": "ARCHIVED"}


class LifecycleAnswers(ECRResponse):
    @property
    def _ecr(self) -> Any:
        return self.ecr_backend

    def put_lifecycle_policy(self) -> ActionResult:
        name, text = self._get_param("repositoryName"), self._get_param("lifecyclePolicyText")
        home = self._ecr.home(name)
        _checked(text)
        home.lifecycle_policy = text
        return PlainAnswer({"registryId": home.registry_id, "repositoryName": name, "lifecyclePolicyText": text})

    def start_lifecycle_policy_preview(self) -> ActionResult:
        name = self._get_param("repositoryName")
        home = self._ecr.home(name)
        text = self._get_param("lifecyclePolicyText") or home.lifecycle_policy
        if not text:
            raise LifecyclePolicyNotFoundException(name, home.registry_id)
        _checked(text)
        vars(home)[_PREVIEW] = text
        return PlainAnswer(_about(home, text, "IN_PROGRESS"))

    def get_lifecycle_policy_preview(self) -> ActionResult:
        """COMPLETE at once: tests of the adapter play the waiting."""
        name = self._get_param("repositoryName")
        home = self._ecr.home(name)
        text = vars(home).get(_PREVIEW)
        if text is None:
            raise EcrRefusal(NO_PREVIEW, f"There is no preview for the repository {name}")
        rows = preview(json.loads(text), home.images, self._ecr.clock.now())
        page, more = page_of(rows, self._get_param("nextToken"), int(self._get_param("maxResults") or ROWS))
        expiring = sum(row["action"]["type"] == "EXPIRE" for row in rows)
        summary = {"expiringImageTotalCount": expiring}
        return PlainAnswer({**_about(home, text, "COMPLETE"), "previewResults": page, "summary": summary, **more})

    def register_pull_time_update_exclusion(self) -> ActionResult:
        arn, excluded = str(self._get_param("principalArn")), self._excluded()
        if not arn.startswith("arn:") or ":iam::" not in arn or "*" in arn or len(arn) > LONGEST_ARN:
            raise InvalidParameterException(f"{arn} is no principal")
        if arn in excluded:
            raise EcrRefusal("ExclusionAlreadyExistsException", f"{arn} is excluded already")
        excluded[arn] = self._ecr.clock.now().timestamp()
        return PlainAnswer({"principalArn": arn, "createdAt": excluded[arn]})

    def list_pull_time_update_exclusions(self) -> ActionResult:
        size = min(int(self._get_param("maxResults") or ROWS), ROWS)
        page, more = page_of(sorted(self._excluded()), self._get_param("nextToken"), size)
        return PlainAnswer({"pullTimeUpdateExclusions": page, **more})

    def _excluded(self) -> dict[str, float]:
        """When each principal was excluded, by its ARN."""
        excluded: dict[str, float] = vars(self._ecr).setdefault(_EXCLUSIONS, {})
        return excluded


def preview(policy: dict[str, Any], images: Iterable[HeldImage], now: datetime) -> list[dict[str, Any]]:
    """One row for each image that the policy would expire or archive, oldest push first."""
    there = {image.image_digest: image for image in images}
    free = {digest for digest, image in there.items() if image.subject not in there}
    rows: dict[str, dict[str, Any]] = {}
    for rule in sorted(policy["rules"], key=lambda r: int(r["rulePriority"])):
        mine = [there[digest] for digest in there if _selects(rule["selection"], there[digest])]
        for image in _marked(rule["selection"], [i for i in mine if i.subject not in there], now):
            if image.image_digest in free:
                rows[image.image_digest] = _row(rule, image)
        free -= {image.image_digest for image in mine}
    _add_referrers_and_keep_children(rows, there)
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


def _add_referrers_and_keep_children(rows: dict[str, dict[str, Any]], there: dict[str, HeldImage]) -> None:
    """Referrers go with their subject; an image stays while an index that stays needs it."""
    while more := {d: rows[i.subject] for d, i in there.items() if i.subject in rows and d not in rows}:
        rows |= {digest: {**row, **_named(there[digest])} for digest, row in more.items()}
    while held := [d for d in rows if _is_held(there[d], rows[d]["action"]["type"], rows, there)]:
        for digest in held:
            del rows[digest]


def _is_held(image: HeldImage, action: str, rows: Mapping[str, Any], there: Mapping[str, HeldImage]) -> bool:
    """An archived index cannot be pulled: its images may be archived too, but not be deleted."""
    if image.subject in there and image.subject not in rows:
        return True
    staying = [
        i for digest, i in there.items() if digest not in rows and image.image_digest in children_of(i.image_manifest)
    ]
    return any(action == "EXPIRE" or index.status != "ARCHIVED" for index in staying)


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
    named = {"registryId": home.registry_id, "repositoryName": home.name}
    return {**named, "lifecyclePolicyText": text, "status": status}


def _checked(text: str) -> None:
    try:
        parse_lifecycle_policy(text)
    except RefusedPayloadError as error:
        raise InvalidParameterException(f"Invalid parameter at 'LifecyclePolicyText': {error}") from None
