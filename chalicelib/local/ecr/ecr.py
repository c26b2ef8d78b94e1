"""ECR's state and rules as moto lacks them: images under given digests, storage classes, scan results and events.

moto makes digests from layers (images without layers collide), answers every scan alike, knows no `imageStatus` and
sends no events. Repositories and their settings stay moto's; requests and answers are in `answers.py`. AWS chooses the
scanner by registry; here each image does, so that one local registry shows both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from moto.core.exceptions import ServiceException
from moto.ecr.exceptions import (
    ImageAlreadyExistsException,
    ImageNotFoundException,
    LimitExceededException,
    RepositoryNotFoundException,
    ValidationException,
)
from moto.ecr.models import Image, Repository, ecr_backends

from chalicelib.domain.images.image import CONTAINER_CONFIG_TYPES, INDEX_MEDIA_TYPES, ImageRef
from chalicelib.domain.images.image import Repository as Home
from chalicelib.local import events as aws_events
from chalicelib.local.ecr.scans import scans_begin, scans_end
from chalicelib.local.ecr.templates import CREATE_ON_PUSH, CreationTemplates
from chalicelib.local.events import LocalClock
from chalicelib.parsers.wire.wire import instant

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
STANDARD, ARCHIVE = "STANDARD", "ARCHIVE"
ACTIVE, ARCHIVED, ACTIVATING = "ACTIVE", "ARCHIVED", "ACTIVATING"
ONE_SCAN_IN = timedelta(hours=24)
_SCANNED = {"status": "COMPLETE", "description": "The scan was completed successfully."}


class EcrRefusal(ServiceException):
    """By code and message. moto looks for the code in the service whose module defines the class: not in its core."""


class HeldImage(Image):
    """An image under a given digest, with the attributes that moto's image lacks.

    `status` is ACTIVE, ARCHIVED or ACTIVATING (until `restored_at`). `basic_scan` is a DescribeImageScanFindings
    response with all findings on one page, None where the image was never scanned.
    """

    def __init__(self, home: Repository, digest: str, manifest: str, media_type: str, pushed_at: datetime) -> None:
        super().__init__(home.account_id, "", manifest, home.name, media_type, digest, home.registry_id)
        self.image_tags = []
        self.region = home.region_name
        self.pushed_at = pushed_at
        self.artifact_media_type: str | None = None
        self.size_bytes: int | None = None
        self.status = ACTIVE
        self.pulled_at: datetime | None = None
        self.archived_at: datetime | None = None
        self.activated_at: datetime | None = None
        self.restored_at: datetime | None = None
        self.subject: str | None = None
        self.basic_scan: dict[str, Any] | None = None

    @property
    def is_scannable(self) -> bool:
        artifact = self.artifact_media_type is not None and self.artifact_media_type not in CONTAINER_CONFIG_TYPES
        return not artifact and self.subject is None and self.image_manifest_media_type not in INDEX_MEDIA_TYPES

    @property
    def ref(self) -> ImageRef:
        return ImageRef(self.registry_id, self.region, self.repository_name, self.image_digest)


class LocalEcr(CreationTemplates):
    """The ECR of one account and Region. `publish` takes every event that AWS would send.

    All ECRs of this process share `clock`; a restore takes `restore_takes` (AWS: up to 20 minutes).
    """

    publish: ClassVar[Callable[[aws_events.Event], object]] = staticmethod(lambda event: None)
    clock: ClassVar[LocalClock] = LocalClock()
    restore_takes: ClassVar[timedelta] = timedelta()
    restoring: ClassVar[list[HeldImage]] = []

    @staticmethod
    def listen(
        publish: Callable[[aws_events.Event], object], clock: LocalClock, restore_takes: timedelta = timedelta()
    ) -> None:
        """Sets these for all ECRs of this process; pending restores are dropped."""
        LocalEcr.publish, LocalEcr.clock, LocalEcr.restore_takes = staticmethod(publish), clock, restore_takes
        LocalEcr.restoring.clear()

    # ---- images without a push

    def hold_image(
        self,
        name: str,
        digest: str,
        manifest: str | None = None,
        media_type: str | None = None,
        pushed_at: datetime | None = None,
    ) -> HeldImage:
        """The image under that digest; a new one if it does not exist."""
        home = self.hold_repository(name)
        if (image := self.find(home, digest=digest)) is None:
            media_type = media_type or MANIFEST
            text = manifest or manifest_of(digest, media_type)
            image = HeldImage(home, digest, text, media_type, pushed_at or LocalEcr.clock.now())
            home.images.append(image)
        return image

    def tag_image(self, image: HeldImage, tag: str) -> None:
        """A tag names one image at a time."""
        for other in self.repositories[image.repository_name].images:
            if other is not image:
                other.remove_tag(tag)
        image.update_tag(tag)

    # ---- the API

    def home(self, name: str) -> Repository:
        if name not in self.repositories:
            raise RepositoryNotFoundException(name, self.account_id)
        return self.repositories[name]

    def find(self, home: Repository, digest: str | None = None, tag: str | None = None) -> HeldImage | None:
        for image in home.images:
            if (digest is None or image.image_digest == digest) and (tag is None or tag in image.image_tags):
                assert isinstance(image, HeldImage)
                return image
        return None

    def get(self, name: str, image_id: dict[str, str]) -> HeldImage:
        home = self.home(name)
        image = self.find(home, image_id.get("imageDigest"), image_id.get("imageTag"))
        if image is None or not image_id:
            said = ", ".join(f"{k}:'{v}'" for k, v in image_id.items())
            raise ImageNotFoundException("{" + said + "}", name, self.account_id)
        return image

    def put(self, name: str, manifest: str, tag: str | None, media_type: str | None) -> HeldImage:
        """PutImage: the digest is that of the manifest's bytes, or of the stored image with the same manifest. A push
        restores an archived image at once, and makes its repository where a template says so."""
        made = name not in self.repositories and self.template_for(name, CREATE_ON_PUSH) is not None
        home = self.make_repository(name, CREATE_ON_PUSH) if made else self.home(name)
        body = json.loads(manifest)
        known = next((i for i in home.images if i.image_manifest == manifest), None)
        digest = known.image_digest if known else "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
        away = isinstance(known, HeldImage) and known.status != ACTIVE
        if known is not None and not away and (tag is None or tag in known.image_tags):
            raise ImageAlreadyExistsException(self.account_id, tag or "", digest, name)
        self._resolve_image_tag_mutability(home, tag)  # type: ignore[arg-type]
        image = self.hold_image(name, digest, manifest, media_type or body.get("mediaType"))
        image.artifact_media_type = body.get("artifactType") or body.get("config", {}).get("mediaType")
        image.subject = body.get("subject", {}).get("digest")
        if tag is not None:
            self.tag_image(image, tag)
        now, media_type = LocalEcr.clock.now(), image.image_manifest_media_type
        if away:
            image.status, image.activated_at = ACTIVE, now
            LocalEcr.restoring[:] = [other for other in LocalEcr.restoring if other is not image]
        LocalEcr.publish(aws_events.pushed(image.ref, tag, media_type, now, image.artifact_media_type))
        if away:
            _publish_all(scans_begin(image.ref, image.basic_scan, image.image_tags, now))
        return image

    def is_needed(self, name: str, digest: str | None) -> bool:
        """Whether an index of the repository lists it: then ECR does not delete it."""
        return any(digest in children_of(image.image_manifest) for image in self.home(name).images)

    def delete(self, name: str, image_id: dict[str, str]) -> list[dict[str, str]]:
        """By tag: deletes the tag, and the image with its last tag. By digest: the image. Empty: not found."""
        home = self.home(name)
        digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
        image = self.find(home, digest, tag) if image_id else None
        if image is None:
            return []
        media_type = image.image_manifest_media_type
        if tag is not None and len(image.image_tags) > 1:
            image.remove_tag(tag)
            LocalEcr.publish(aws_events.deleted(image.ref, tag, media_type, LocalEcr.clock.now()))
            return [{"imageDigest": image.image_digest, "imageTag": tag}]
        home.images.remove(image)
        LocalEcr.restoring[:] = [other for other in LocalEcr.restoring if other is not image]
        LocalEcr.publish(aws_events.deleted(image.ref, tag, media_type, LocalEcr.clock.now()))
        named = {"imageDigest": image.image_digest}
        return [{**named, "imageTag": tag} for tag in image.image_tags] or [named]

    def change_storage(self, name: str, image_id: dict[str, str], target: str) -> HeldImage:
        """UpdateImageStorageClass: archives at once, restores after `restore_takes`."""
        image = self.get(name, image_id)
        if target not in (STANDARD, ARCHIVE):
            raise ValidationException(f"targetStorageClass is {STANDARD} or {ARCHIVE}, not {target!r}")
        if image.status != (ACTIVE if target == ARCHIVE else ARCHIVED):
            said = f"The image {image.image_digest} is {image.status}"
            raise EcrRefusal("ImageStorageClassUpdateNotSupportedException", said)
        now = LocalEcr.clock.now()
        if target == STANDARD:
            image.status, image.restored_at = ACTIVATING, now + LocalEcr.restore_takes
            LocalEcr.restoring.append(image)
            LocalEcr.finish_restores()
            return image
        image.status, image.archived_at = ARCHIVED, now
        LocalEcr.publish(aws_events.storage_changed(image.ref, target, image.image_manifest_media_type, now))
        _publish_all(scans_end(image.ref, now))
        return image

    def start_scan(self, name: str, image_id: dict[str, str]) -> HeldImage:
        """StartImageScan: finds what was found last, or nothing in a first scan, and is complete at once.

        Sources: ECR API reference (StartImageScan); Amazon ECR user guide (basic scanning, archive).
        """
        image, now = self.get(name, image_id), LocalEcr.clock.now()
        if self.get_registry_scanning_configuration()["scanType"] == "ENHANCED":
            raise ValidationException("This feature is disabled: the registry uses enhanced scanning")
        if image.status != ACTIVE:
            raise EcrRefusal("ImageArchivedException", f"The image {image.image_digest} is {image.status}")
        if not image.is_scannable:
            said = f"The image {image.image_digest} is of a type that is not supported"
            raise EcrRefusal("UnsupportedImageTypeException", said)
        found = dict((image.basic_scan or {}).get("imageScanFindings") or {})
        scanned_at = instant(found.get("imageScanCompletedAt"), "$.imageScanCompletedAt")
        if scanned_at is not None and now < scanned_at + ONE_SCAN_IN:
            raise LimitExceededException()
        found |= {"imageScanCompletedAt": now.timestamp(), "vulnerabilitySourceUpdatedAt": now.timestamp()}
        image.basic_scan = {"imageScanStatus": _SCANNED, "imageScanFindings": {"findings": [], **found}}
        counts = found.get("findingSeverityCounts")
        LocalEcr.publish(aws_events.basic_scan_finished(image.ref, image.image_tags, "COMPLETE", counts, now))
        return image

    @staticmethod
    def finish_restores() -> None:
        """Call it when time has passed."""
        now = LocalEcr.clock.now()
        for image in [i for i in LocalEcr.restoring if i.restored_at is not None and i.restored_at <= now]:
            LocalEcr.restoring.remove(image)
            image.status, image.activated_at = ACTIVE, now
            LocalEcr.publish(aws_events.storage_changed(image.ref, STANDARD, image.image_manifest_media_type, now))
            _publish_all(scans_begin(image.ref, image.basic_scan, image.image_tags, now))


def _publish_all(events: Iterable[aws_events.Event]) -> None:
    for event in events:
        LocalEcr.publish(event)


def ecr_of(home: Home) -> LocalEcr:
    backend = ecr_backends[home.registry][home.region]
    assert isinstance(backend, LocalEcr)
    return backend


def all_ecrs() -> list[LocalEcr]:
    """Those that were ever asked."""
    found = [backend for of_account in ecr_backends.values() for backend in of_account.values()]
    return [backend for backend in found if isinstance(backend, LocalEcr)]


def children_of(manifest: str) -> list[str]:
    """The digests that an index lists."""
    return [child["digest"] for child in json.loads(manifest).get("manifests") or []]


def manifest_of(digest: str, media_type: str, artifact_media_type: str | None = None) -> str:
    """A manifest for an image of which only the digest is known; no two are equal."""
    config = {"mediaType": artifact_media_type or CONFIG, "digest": digest, "size": 1}
    layers = [] if artifact_media_type is None else [config]
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers})
