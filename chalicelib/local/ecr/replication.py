"""ECR's replication as moto lacks it: a push is copied, by every rule, to other accounts and Regions.

moto stores one rule and copies nothing. Copies arrive after `takes`, one hop far and without settings (a template may
give some), or fail where the destination's registry policy does not admit the source account. ECR publishes no failure
codes: these are invented.
Source: Amazon ECR user guide (private image replication).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, uuid5

import msgspec
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ValidationException
from moto.ecr.responses import ECRResponse

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.replication.replica_case import Mutability, Reported
from chalicelib.domain.replication.rules import Configuration, Destination, allowance
from chalicelib.local import events as aws_events
from chalicelib.local.ecr.ecr import ACTIVE, HeldImage, LocalEcr, ecr_of
from chalicelib.local.ecr.templates import REPLICATION
from chalicelib.parsers.images.settings_answers import read_configuration

MOST_RULES = 10
NOT_ALLOWED = "ReplicationNotAllowed"
IN_PROGRESS, COMPLETE, FAILED = "IN_PROGRESS", "COMPLETE", "FAILED"


class Copying(msgspec.Struct):
    """One image, with one of its tags or none, that arrives at its destination at `due_at`."""

    source: HeldImage
    tag: str | None
    destination: Destination
    due_at: datetime


class LocalReplication:
    """Of all ECRs of this process. `failing`: the failure code of each destination at which every copy fails.

    `under_way`: copies that have not arrived; `reports`: what DescribeImageReplicationStatus answers.
    """

    takes: ClassVar[timedelta] = timedelta()
    failing: ClassVar[dict[Destination, str]] = {}
    under_way: ClassVar[list[Copying]] = []
    reports: ClassVar[dict[ImageRef, dict[Destination, Reported]]] = {}

    @staticmethod
    def reset(takes: timedelta = timedelta()) -> None:
        """Copies under way are dropped."""
        LocalReplication.takes = takes
        LocalReplication.failing.clear()
        LocalReplication.under_way.clear()
        LocalReplication.reports.clear()

    @staticmethod
    def take_up(event: aws_events.Event) -> None:
        """Replicates a push, a restore or a deletion. `event`: any event of an ECR of this process."""
        if event["detail-type"] != "ECR Image Action":
            return
        detail = event["detail"]
        home = Repository(event["account"], event["region"], detail["repository-name"])
        match detail["action-type"], detail.get("target-storage-class"):
            case "DELETE", _:
                _delete(home, detail)
            case ("PUSH", _) | ("UPDATE_STORAGE_CLASS", "STANDARD"):
                image = ecr_of(home).get(home.name, {"imageDigest": detail["image-digest"]})
                for destination in _configuration(home).destinations_of(home):
                    LocalReplication.begin(image, detail.get("image-tag"), destination)
                LocalReplication.arrive()

    @staticmethod
    def begin(image: HeldImage, tag: str | None, destination: Destination) -> None:
        due_at = LocalEcr.clock.now() + LocalReplication.takes
        LocalReplication.under_way.append(Copying(image, tag, destination, due_at))
        _report(image.ref, destination, Reported(IN_PROGRESS))

    @staticmethod
    def arrive() -> None:
        """Call it when time has passed."""
        now = LocalEcr.clock.now()
        for copying in [one for one in LocalReplication.under_way if one.due_at <= now]:
            LocalReplication.under_way.remove(copying)
            _arrive(copying, now)

    @staticmethod
    def fill(home: Repository, destination: Destination) -> None:
        """A backfill: copies what the rules cover and the destination lacks."""
        for name, held in list(ecr_of(home).repositories.items()):
            source = Repository(home.registry, home.region, name)
            if destination not in _configuration(source).destinations_of(source):
                continue
            for image in held.images:
                assert isinstance(image, HeldImage)
                if image.status == ACTIVE and _copy_of(image, destination) is None:
                    tags: list[str | None] = [*image.image_tags] or [None]
                    for tag in tags:
                        LocalReplication.begin(image, tag, destination)
        LocalReplication.arrive()


class ReplicationAnswers(ECRResponse):
    def put_replication_configuration(self) -> ActionResult:
        """moto accepts a single rule."""
        configuration = self._get_param("replicationConfiguration")
        own = {"registryId": self.current_account, "region": self.region}
        rules = configuration["rules"]
        if len(rules) > MOST_RULES or any(own in rule["destinations"] for rule in rules):
            raise ValidationException(f"Invalid replicationConfiguration: over {MOST_RULES} rules, or to itself")
        self.ecr_backend.replication_config = configuration
        return ActionResult({"replicationConfiguration": configuration})

    def describe_image_replication_status(self) -> ActionResult:
        ecr: Any = self.ecr_backend
        image = ecr.get(self._get_param("repositoryName"), self._get_param("imageId"))
        rows = [
            {"region": place.region, "registryId": place.registry, "status": reported.status}
            | ({"failureCode": reported.failure_code} if reported.failure_code else {})
            for place, reported in sorted(LocalReplication.reports.get(image.ref, {}).items())
        ]
        image_id = {"imageDigest": image.image_digest}
        named = {"repositoryName": image.repository_name, "imageId": image_id}
        return ActionResult({**named, "replicationStatuses": rows})

    def start_replication_backfill(self) -> ActionResult:
        said = self._get_param("destination")
        home = Repository(self.current_account, self.region, "")
        LocalReplication.fill(home, Destination(said["registryId"], said["region"]))
        now = LocalEcr.clock.now()
        number = uuid5(NAMESPACE_URL, f"{home.path} {said} {now.isoformat()}")
        named = {"registryId": home.registry, "destination": said, "replicationBackfillId": str(number)}
        return ActionResult({**named, "status": IN_PROGRESS, "startedAt": now})


def _configuration(home: Repository) -> Configuration:
    answer = {"registryId": home.registry, "replicationConfiguration": ecr_of(home).replication_config}
    return read_configuration(answer)[1]


def _delete(home: Repository, detail: aws_events.Event) -> None:
    """Copies a deletion where a rule says so: of the tag, or of the image that went with its last tag."""
    digest, tag = detail["image-digest"], detail.get("image-tag")
    origin = ecr_of(home).repositories.get(home.name)
    untagged = origin is not None and ecr_of(home).find(origin, digest=digest) is not None
    gone = {"imageDigest": digest, **({"imageTag": tag} if untagged and tag is not None else {})}
    for place in _configuration(home).deleting(home):
        target = place.repository(home)
        if place not in LocalReplication.failing and target.name in ecr_of(target).repositories:
            ecr_of(target).delete(target.name, gone)


def _report(source: ImageRef, destination: Destination, reported: Reported) -> None:
    LocalReplication.reports.setdefault(source, {})[destination] = reported


def _copy_of(image: HeldImage, destination: Destination) -> HeldImage | None:
    target = destination.repository(image.ref.home)
    home = ecr_of(target).repositories.get(target.name)
    return ecr_of(target).find(home, digest=image.image_digest) if home is not None else None


def _arrive(copying: Copying, now: datetime) -> None:
    source, place = copying.source, copying.destination
    target = place.repository(source.ref.home)
    origin = ecr_of(source.ref.home).repositories.get(source.repository_name)
    if origin is None or source not in origin.images:
        return
    code = LocalReplication.failing.get(place) or _refused(source.ref, target)
    if code is None:
        _copy(source, copying.tag, target)
    reported = Reported(COMPLETE) if code is None else Reported(FAILED, code)
    _report(source.ref, place, reported)
    result = "SUCCESS" if code is None else "FAILED"
    copy = target.image(source.image_digest)
    LocalEcr.publish(aws_events.replicated(copy, copying.tag, source.ref.home, result, now))


def _refused(source: ImageRef, target: Repository) -> str | None:
    allowed = allowance(ecr_of(target).registry_policy, source.registry, target)
    exists = target.name in ecr_of(target).repositories
    return None if allowed.replicate and (exists or allowed.create) else NOT_ALLOWED


def _copy(source: HeldImage, tag: str | None, target: Repository) -> None:
    """A taken immutable tag stays; an archived copy is restored."""
    ecr = ecr_of(target)
    home = ecr.make_repository(target.name, REPLICATION)
    manifest, media_type = source.image_manifest, source.image_manifest_media_type
    copy = ecr.hold_image(target.name, source.image_digest, manifest, media_type, LocalEcr.clock.now())
    copy.artifact_media_type, copy.subject = source.artifact_media_type, source.subject
    copy.size_bytes, copy.status = source.size_bytes, ACTIVE
    if tag is None or tag not in source.image_tags:
        return
    fixed = Mutability(home.image_tag_mutability).fixes(tag)
    taken = any(tag in other.image_tags for other in home.images if other is not copy)
    if not (fixed and taken):
        ecr.tag_image(copy, tag)
