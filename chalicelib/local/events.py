"""The events that AWS sends, as EventBridge delivers them, and the clock that dates them. Nothing is sent here.

Event ids are made from the content, so that the same fact composed twice is the same event.
Sources: EventBridge events of Amazon ECR, Amazon ECS, Amazon Inspector and AWS CloudTrail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from chalicelib.domain.images.image import ImageRef, Repository

Event = dict[str, Any]
_NAMED_BY_INSPECTOR = ("CRITICAL", "HIGH", "MEDIUM")


class LocalClock:
    """The real time plus what a test or the story has skipped. The local AWS and the app share one."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def move(self, by: timedelta) -> None:
        """Never back."""
        self.ahead += max(by, timedelta())

    def move_to(self, at: datetime) -> None:
        self.move(at - self.now())


def pushed(ref: ImageRef, tag: str | None, media_type: str | None, at: datetime, artifact: str | None = None) -> Event:
    return _image_action(ref, "PUSH", at, tag, media_type, {"artifact-media-type": artifact})


def deleted(ref: ImageRef, tag: str | None, media_type: str | None, at: datetime) -> Event:
    return _image_action(ref, "DELETE", at, tag, media_type, {})


def storage_changed(ref: ImageRef, target: str, media_type: str | None, at: datetime) -> Event:
    """`target` is `ARCHIVE` or `STANDARD`; a restored image was activated at `at`."""
    more = {"target-storage-class": target, "last-activated-at": iso(at) if target == "STANDARD" else None}
    return _image_action(ref, "UPDATE_STORAGE_CLASS", at, None, media_type, more)


def basic_scan_finished(
    ref: ImageRef, tags: Sequence[str], status: str, counts: Mapping[str, int] | None, at: datetime
) -> Event:
    detail = {
        "scan-status": status,
        "repository-name": ref.repository,
        "image-digest": ref.digest,
        "image-tags": list(tags),
        "finding-severity-counts": None if counts is None else {s: n for s, n in counts.items() if n},
    }
    return _event("aws.ecr", "ECR Image Scan", ref.home, at, [ref.home.arn], detail)


def inspector_scan_finished(ref: ImageRef, tags: Sequence[str], counts: Mapping[str, int], at: datetime) -> Event:
    """`counts` by severity; Inspector names three of them and the total."""
    named = {severity: counts.get(severity, 0) for severity in _NAMED_BY_INSPECTOR}
    detail = {
        "scan-status": "INITIAL_SCAN_COMPLETE",
        "repository-name": ref.home.arn,
        "finding-severity-counts": {**named, "TOTAL": sum(counts.values())},
        "image-digest": ref.digest,
        "image-tags": list(tags),
        "version": "1.0",
    }
    return _event("aws.inspector2", "Inspector2 Scan", ref.home, at, [ref.home.arn], detail)


def task_failed(task: Mapping[str, Any], reason: str, at: datetime) -> Event:
    """`task` in the words of the event's detail: an ECS task that could not be started."""
    account, region = task["taskArn"].split(":")[4], task["taskArn"].split(":")[3]
    stopped = [{**one, "reason": reason} for one in task["containers"]]
    detail = {**task, "containers": stopped, "stoppedReason": reason, "updatedAt": iso(at), "version": 3}
    return _event("aws.ecs", "ECS Task State Change", Repository(account, region, ""), at, [task["taskArn"]], detail)


def finding_changed(ref: ImageRef, row: Mapping[str, Any], at: datetime) -> Event:
    return _event("aws.inspector2", "Inspector2 Finding", ref.home, at, [ref.arn], dict(row))


def coverage_changed(ref: ImageRef, active: bool, reason: str, at: datetime) -> Event:
    detail = {
        "scanStatus": {"statusCodeValue": "ACTIVE" if active else "INACTIVE", "reason": reason},
        "scanType": "PACKAGE",
        "provider": "AWS",
        "providerAccountId": ref.registry,
        "providerRegion": ref.region,
        "eventTimestamp": iso(at),
        "version": "1.0",
    }
    return _event("aws.inspector2", "Inspector2 Coverage", ref.home, at, [ref.arn], detail)


def replicated(copy: ImageRef, tag: str | None, source: Repository, result: str, at: datetime) -> Event:
    """ECR sends it at the destination."""
    detail = {
        "action-type": "REPLICATE",
        "result": result,
        "repository-name": copy.repository,
        "image-digest": copy.digest,
        "image-tag": tag,
        "source-account": source.registry,
        "source-region": source.region,
    }
    return _event("aws.ecr", "ECR Replication Action", copy.home, at, [copy.home.arn], detail)


def pulled_through(
    home: Repository,
    tag: str,
    rule: Mapping[str, Any],
    digest: str | None,
    failure: tuple[str, str] | None,
    at: datetime,
) -> Event:
    """`rule`: as ECR describes it. `failure`: code and reason."""
    code, reason = failure or (None, None)
    detail = {
        "rule-version": "1",
        "sync-status": "SUCCESS" if failure is None else "FAILED",
        "ecr-repository-prefix": rule["ecrRepositoryPrefix"],
        "repository-name": home.name,
        "upstream-registry-url": rule["upstreamRegistryUrl"],
        "image-tag": tag,
        "image-digest": digest,
        "failure-code": code,
        "failure-reason": reason,
    }
    return _event("aws.ecr", "ECR Pull Through Cache Action", home, at, [home.arn], detail)


def lifecycle_ran(
    home: Repository, rules: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]], at: datetime
) -> Event:
    """As CloudTrail tells of a run of a lifecycle policy. `rules`: those of the policy; `images`: what they took."""
    detail = {
        "eventVersion": "1.11",
        "userIdentity": {"accountId": home.registry, "invokedBy": "AWS Internal"},
        "eventTime": iso(at),
        "eventSource": "ecr.amazonaws.com",
        "eventName": "PolicyExecutionEvent",
        "awsRegion": home.region,
        "eventType": "AwsServiceEvent",
        "serviceEventDetails": {
            "repositoryName": home.name,
            "lifecycleEventPolicy": {"lifecycleEventRules": list(rules)},
            "lifecycleEventImageActions": list(images),
            "lifecycleEventFailureDetails": [],
        },
    }
    return _event("aws.ecr", "AWS Service Event via CloudTrail", home, at, [home.arn], detail)


def repository_created(home: Repository, actor: str, at: datetime) -> Event:
    detail = {
        "eventVersion": "1.08",
        "eventTime": iso(at),
        "eventName": "CreateRepository",
        "eventSource": "ecr.amazonaws.com",
        "awsRegion": home.region,
        "eventType": "AwsApiCall",
        "readOnly": False,
        "userIdentity": {"type": "AssumedRole", "arn": actor, "accountId": home.registry},
        "requestParameters": {"repositoryName": home.name},
        "responseElements": {
            "repository": {"repositoryArn": home.arn, "repositoryName": home.name, "registryId": home.registry}
        },
    }
    return _event("aws.ecr", "AWS API Call via CloudTrail", home, at, [], detail)


def iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _image_action(
    ref: ImageRef, action: str, at: datetime, tag: str | None, media_type: str | None, more: dict[str, str | None]
) -> Event:
    detail = {
        "action-type": action,
        "result": "SUCCESS",
        "repository-name": ref.repository,
        "image-digest": ref.digest,
        "image-tag": tag,
        "manifest-media-type": media_type,
        **more,
    }
    return _event("aws.ecr", "ECR Image Action", ref.home, at, [], detail)


def _event(
    source: str, kind: str, home: Repository, at: datetime, resources: list[str], detail: dict[str, Any]
) -> Event:
    said = {key: value for key, value in detail.items() if value is not None}
    time = iso(at)
    name = json.dumps([source, kind, home.path, time, resources, said], sort_keys=True, default=str)
    return {
        "version": "0",
        "id": str(uuid5(NAMESPACE_URL, name)),
        "detail-type": kind,
        "source": source,
        "account": home.registry,
        "time": time,
        "region": home.region,
        "resources": resources,
        "detail": said,
    }
