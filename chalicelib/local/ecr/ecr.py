"""ECR as moto lacks it: images under given digests, storage classes, scan results and events. Its state and rules.

moto makes digests from layers (images without layers collide), answers every scan alike, knows no `imageStatus`, and
emits no event. Repositories, policies, lifecycle and scanning settings stay moto's. How requests are read and answers
written is `answers.py`'s business.

AWS decides by registry which scanner scans; here each image does, so that one local registry shows both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from moto.ecr.exceptions import (
    ImageAlreadyExistsException,
    ImageNotFoundException,
    RepositoryNotFoundException,
    ValidationException,
)
from moto.ecr.models import Image, Repository, ecr_backends

from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.image import Repository as Home
from chalicelib.local.ecr.archived_scans import scans_begin, scans_end
from chalicelib.local.ecr.blobs import BlobEcr, EcrRefusal
from chalicelib.local.events import events as aws_events
from chalicelib.local.events.clock import LocalClock

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
STANDARD, ARCHIVE = "STANDARD", "ARCHIVE"
ACTIVE, ARCHIVED, ACTIVATING = "ACTIVE", "ARCHIVED", "ACTIVATING"


class HeldImage(Image):
    """An image whose digest is given, with what moto's image does not carry.

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
    def ref(self) -> ImageRef:
        return ImageRef(self.registry_id, self.region, self.repository_name, self.image_digest)


class LocalEcr(BlobEcr):
    """The ECR of one account and Region. `hear` is told every event AWS would send.

    By `clock` every ECR of this process goes; a restore takes `restore_takes` (AWS: up to 20 minutes). `restoring`:
    what is being restored until its time has come.
    """

    hear: ClassVar[Callable[[aws_events.Event], object]] = staticmethod(lambda event: None)
    clock: ClassVar[LocalClock] = LocalClock()
    restore_takes: ClassVar[timedelta] = timedelta()
    restoring: ClassVar[list[HeldImage]] = []

    @staticmethod
    def listen(
        hear: Callable[[aws_events.Event], object], clock: LocalClock, restore_takes: timedelta = timedelta()
    ) -> None:
        """Of all ECRs of this process; what was being restored is forgotten."""
        LocalEcr.hear, LocalEcr.clock, LocalEcr.restore_takes = staticmethod(hear), clock, restore_takes
        LocalEcr.restoring.clear()

    # ---- what the local stack holds without anyone pushing it

    def hold_repository(self, name: str) -> Repository:
        """Whatever its name: moto's own check is stricter than ECR is."""
        if name not in self.repositories:
            # moto never fills in what CloudFormation would need of it.
            home = Repository(self.account_id, self.region_name, name, None, None, "", "MUTABLE")  # type: ignore[abstract]
            self.repositories[name] = home
        return self.repositories[name]

    def hold_image(
        self,
        name: str,
        digest: str,
        manifest: str | None = None,
        media_type: str | None = None,
        pushed_at: datetime | None = None,
    ) -> HeldImage:
        """The image under that digest, made where it is not there yet."""
        home = self.hold_repository(name)
        if (image := self.find(home, digest=digest)) is None:
            media_type = media_type or MANIFEST
            text = manifest or manifest_of(digest, media_type)
            image = HeldImage(home, digest, text, media_type, pushed_at or LocalEcr.clock.now())
            home.images.append(image)
        return image

    def tag_image(self, image: HeldImage, tag: str) -> None:
        """A tag is at one image at a time."""
        for other in self.repositories[image.repository_name].images:
            if other is not image:
                other.remove_tag(tag)
        image.update_tag(tag)

    # ---- what the API offers

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
        """PutImage: the digest is that of the manifest's bytes, or of the image held with the very same manifest.

        One that is archived is restored by it at once.
        """
        home = self.home(name)
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
        LocalEcr.hear(aws_events.pushed(image.ref, tag, media_type, now, image.artifact_media_type))
        if away:
            _tell(scans_begin(image.ref, image.basic_scan, image.image_tags, now))
        return image

    def delete(self, name: str, image_id: dict[str, str]) -> list[dict[str, str]]:
        """By tag: the tag, and with the last one the image. By digest: the image. What went; empty: not found."""
        home = self.home(name)
        digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
        image = self.find(home, digest, tag) if image_id else None
        if image is None:
            return []
        media_type = image.image_manifest_media_type
        if tag is not None and len(image.image_tags) > 1:
            image.remove_tag(tag)
            LocalEcr.hear(aws_events.deleted(image.ref, tag, media_type, LocalEcr.clock.now()))
            return [{"imageDigest": image.image_digest, "imageTag": tag}]
        home.images.remove(image)
        LocalEcr.restoring[:] = [other for other in LocalEcr.restoring if other is not image]
        self.forget_blobs(name, image.image_manifest)
        LocalEcr.hear(aws_events.deleted(image.ref, tag, media_type, LocalEcr.clock.now()))
        tags: Iterable[str] = image.image_tags
        return [{"imageDigest": image.image_digest, "imageTag": t} for t in tags] or [
            {"imageDigest": image.image_digest}
        ]

    def change_storage(self, name: str, image_id: dict[str, str], target: str) -> HeldImage:
        """UpdateImageStorageClass: the archive takes an image at once, and gives it back after a while."""
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
        LocalEcr.hear(aws_events.storage_changed(image.ref, target, image.image_manifest_media_type, now))
        _tell(scans_end(image.ref, now))
        return image

    @staticmethod
    def finish_restores() -> None:
        """What time alone does: to be called when some has passed."""
        now = LocalEcr.clock.now()
        for image in [i for i in LocalEcr.restoring if i.restored_at is not None and i.restored_at <= now]:
            LocalEcr.restoring.remove(image)
            image.status, image.activated_at = ACTIVE, now
            LocalEcr.hear(aws_events.storage_changed(image.ref, STANDARD, image.image_manifest_media_type, now))
            _tell(scans_begin(image.ref, image.basic_scan, image.image_tags, now))


def _tell(events: Iterable[aws_events.Event]) -> None:
    for event in events:
        LocalEcr.hear(event)


def ecr_of(home: Home) -> LocalEcr:
    backend = ecr_backends[home.registry][home.region]
    assert isinstance(backend, LocalEcr)
    return backend


def manifest_of(digest: str, media_type: str, artifact_media_type: str | None = None) -> str:
    """A manifest for an image known by its digest alone: unlike every other, because images are told by it too."""
    config = {"mediaType": artifact_media_type or CONFIG, "digest": digest, "size": 1}
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []})
