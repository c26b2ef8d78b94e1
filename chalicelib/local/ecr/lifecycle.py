"""Lifecycle policies of the local ECR, their previews and runs, and the principals whose pulls leave no pull time.

Policies are previewed and run by our own evaluation, all of them once a day: AWS says within 24 hours. moto knows an
older grammar, no previews, no runs and no exclusions. What CloudTrail records of a rule that archives is not published:
here it is what an expiry is, by the rule's own word.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from moto.core.responses import ActionResult
from moto.ecr.exceptions import InvalidParameterException, LifecyclePolicyNotFoundException
from moto.ecr.models import Repository as HeldRepository
from moto.ecr.responses import ECRResponse

from chalicelib.domain.images.image import Repository, StorageStatus
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct, evaluate_lifecycle_policy
from chalicelib.domain.retention.lifecycle_policy import parse_lifecycle_policy
from chalicelib.errors import RefusedPayloadError
from chalicelib.local import events as aws_events
from chalicelib.local.ecr.ecr import ARCHIVE, EcrRefusal, HeldImage, LocalEcr, all_ecrs, children_of
from chalicelib.local.pages import PlainAnswer, page_of

ROWS = 100
LONGEST_ARN = 200
RUN_EVERY = timedelta(hours=24)
IMAGES_IN_AN_EVENT = 9
NO_PREVIEW = "LifecyclePolicyPreviewNotFoundException"
_PREVIEW, _EXCLUSIONS = "lifecycle_preview", "pull_time_exclusions"


class LocalLifecycle:
    """Of all ECRs of this process. `due_at`: when their policies run next."""

    due_at: ClassVar[datetime | None] = None

    @staticmethod
    def run() -> None:
        """Call it when time has passed. The first call only starts the day."""
        now = LocalEcr.clock.now()
        if LocalLifecycle.due_at is None or now >= LocalLifecycle.due_at:
            runs, LocalLifecycle.due_at = LocalLifecycle.due_at is not None, now + RUN_EVERY
            homes = [(ecr, home) for ecr in all_ecrs() for home in list(ecr.repositories.values())] if runs else []
            for ecr, home in homes:
                if home.lifecycle_policy:
                    run_policy(ecr, home, now)


def run_policy(ecr: LocalEcr, home: HeldRepository, now: datetime) -> None:
    policy = parse_lifecycle_policy(str(home.lifecycle_policy))
    there = {image.image_digest: image for image in home.images if isinstance(image, HeldImage)}
    acts = evaluate_lifecycle_policy(policy, [_retained(image) for image in there.values()], now)
    taken = [_taken(there[digest], act) for digest, act in acts.items()]
    for digest, act in acts.items():
        if act.action == "expire":
            ecr.delete(home.name, {"imageDigest": digest})
        else:
            ecr.change_storage(home.name, {"imageDigest": digest}, ARCHIVE)
    rules = [{"rulePriority": rule.rule_priority, "action": rule.action.type} for rule in policy.ordered]
    place = Repository(home.registry_id, home.region_name, home.name)
    for start in range(0, len(taken), IMAGES_IN_AN_EVENT):
        LocalEcr.publish(aws_events.lifecycle_ran(place, rules, taken[start : start + IMAGES_IN_AN_EVENT], now))


def _taken(image: HeldImage, act: NativeAct) -> dict[str, Any]:
    said = {
        "digest": image.image_digest,
        "tagStatus": "Tagged" if image.image_tags else "Untagged",
        "tagList": list(image.image_tags),
        "pushedAt": int(image.pushed_at.timestamp() * 1000),
    }
    return {"lifecycleEventImage": said, "rulePriority": act.priority}


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
        rows = _preview(text, home.images, self._ecr.clock.now())
        page, more = page_of(rows, self._get_param("nextToken"), int(self._get_param("maxResults") or ROWS))
        summary = {"expiringImageTotalCount": sum(row["action"]["type"] == "EXPIRE" for row in rows)}
        return PlainAnswer({**_about(home, text, "COMPLETE"), "previewResults": page, "summary": summary, **more})

    def register_pull_time_update_exclusion(self) -> ActionResult:
        arn, excluded = str(self._get_param("principalArn")), self._excluded()
        if not arn.startswith("arn:") or ":iam::" not in arn or "*" in arn or len(arn) > LONGEST_ARN:
            raise InvalidParameterException(f"{arn} is no principal")
        if arn in excluded:
            raise EcrRefusal("ExclusionAlreadyExistsException", f"{arn} is excluded already")
        excluded[arn] = self._ecr.clock.now().timestamp()
        return PlainAnswer({"principalArn": arn, "createdAt": excluded[arn]})

    def deregister_pull_time_update_exclusion(self) -> ActionResult:
        arn, excluded = str(self._get_param("principalArn")), self._excluded()
        if arn not in excluded:
            raise EcrRefusal("ExclusionNotFoundException", f"{arn} is not excluded")
        del excluded[arn]
        return PlainAnswer({"principalArn": arn})

    def list_pull_time_update_exclusions(self) -> ActionResult:
        size = min(int(self._get_param("maxResults") or ROWS), ROWS)
        page, more = page_of(sorted(self._excluded()), self._get_param("nextToken"), size)
        return PlainAnswer({"pullTimeUpdateExclusions": page, **more})

    def _excluded(self) -> dict[str, float]:
        """When each principal was excluded, by its ARN."""
        excluded: dict[str, float] = vars(self._ecr).setdefault(_EXCLUSIONS, {})
        return excluded


def _preview(text: str, images: Iterable[HeldImage], now: datetime) -> list[dict[str, Any]]:
    """One row for each image that the policy would expire or archive, oldest push first."""
    there = {image.image_digest: image for image in images}
    acts = evaluate_lifecycle_policy(parse_lifecycle_policy(text), [_retained(image) for image in there.values()], now)
    rows = [_row(there[digest], act) for digest, act in acts.items()]
    return sorted(rows, key=lambda row: (row["imagePushedAt"], row["imageDigest"]))


def _retained(image: HeldImage) -> RetainedImage:
    return RetainedImage(
        digest=image.image_digest,
        tags=tuple(image.image_tags),
        pushed_at=image.pushed_at,
        pulled_at=image.pulled_at,
        activated_at=image.activated_at,
        archived_at=image.archived_at,
        storage=StorageStatus(image.status),
        contains=tuple(children_of(image.image_manifest)),
        subject=image.subject,
    )


def _row(image: HeldImage, act: NativeAct) -> dict[str, Any]:
    expire, archive = {"type": "EXPIRE"}, {"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}
    return {
        "imageDigest": image.image_digest,
        "imageTags": list(image.image_tags),
        "imagePushedAt": image.pushed_at.astimezone(UTC).timestamp(),
        "action": expire if act.action == "expire" else archive,
        "appliedRulePriority": act.priority,
        "storageClass": "ARCHIVE" if image.status == "ARCHIVED" else "STANDARD",
    }


def _about(home: Any, text: str, status: str) -> dict[str, Any]:
    named = {"registryId": home.registry_id, "repositoryName": home.name}
    return {**named, "lifecyclePolicyText": text, "status": status}


def _checked(text: str) -> None:
    try:
        parse_lifecycle_policy(text)
    except RefusedPayloadError as error:
        raise InvalidParameterException(f"Invalid parameter at 'LifecyclePolicyText': {error}") from None
