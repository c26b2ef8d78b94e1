"""ECR as moto lacks it: images under given digests, storage classes, scan results and events. Its state and rules.

moto makes digests from layers (images without layers collide), answers every scan alike, knows no `imageStatus`, and
emits no event. Repositories, policies, lifecycle and scanning settings stay moto's. How requests are read and answers
written is `ecr_answers.py`'s business.

AWS decides by registry which scanner scans; here each image does, so that one local registry shows both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar

from moto.ecr.exceptions import (
    ImageAlreadyExistsException,
    ImageNotFoundException,
    RepositoryNotFoundException,
    ValidationException,
)
from moto.ecr.models import ECRBackend, Image, Repository, ecr_backends

from chalicelib.domain.image import ImageRef
from chalicelib.domain.image import Repository as Home
from chalicelib.local import aws_events

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
BUCKETS = {"ARCHIVE": "ARCHIVED", "STANDARD": "ACTIVE"}


class HeldImage(Image):
    """An image whose digest is given, with what moto's image does not carry.

    `status` is ACTIVE or ARCHIVED: a restore is done at once here. `basic_scan` is a DescribeImageScanFindings response
    with all findings on one page, None where the image was never scanned; `described` holds what DescribeImages said.
    """

    def __init__(self, home: Repository, digest: str, manifest: str, media_type: str, pushed_at: datetime) -> None:
        super().__init__(home.account_id, "", manifest, home.name, media_type, digest, home.registry_id)
        self.image_tags = []
        self.region = home.region_name
        self.pushed_at = pushed_at
        self.artifact_media_type: str | None = None
        self.size_bytes: int | None = None
        self.status = "ACTIVE"
        self.archived_at: datetime | None = None
        self.activated_at: datetime | None = None
        self.subject: str | None = None
        self.basic_scan: dict[str, Any] | None = None

    @property
    def ref(self) -> ImageRef:
        return ImageRef(self.registry_id, self.region, self.repository_name, self.image_digest)


class LocalEcr(ECRBackend):
    """The ECR of one account and Region. `hear` is told every event AWS would send."""

    hear: ClassVar[Callable[[aws_events.Event], object]] = staticmethod(lambda event: None)

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
            image = HeldImage(home, digest, text, media_type, pushed_at or datetime.now(UTC))
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
        """PutImage: the digest is that of the manifest's bytes, or of the image held with the very same manifest."""
        home = self.home(name)
        body = json.loads(manifest)
        known = next((i for i in home.images if i.image_manifest == manifest), None)
        digest = known.image_digest if known else "sha256:" + hashlib.sha256(manifest.encode()).hexdigest()
        if known is not None and (tag is None or tag in known.image_tags):
            raise ImageAlreadyExistsException(self.account_id, tag or "", digest, name)
        self._resolve_image_tag_mutability(home, tag)  # type: ignore[arg-type]
        image = self.hold_image(name, digest, manifest, media_type or body.get("mediaType"))
        image.artifact_media_type = body.get("artifactType") or body.get("config", {}).get("mediaType")
        image.subject = body.get("subject", {}).get("digest")
        if tag is not None:
            self.tag_image(image, tag)
        LocalEcr.hear(
            aws_events.pushed(image.ref, tag, image.image_manifest_media_type, _now(), image.artifact_media_type)
        )
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
            LocalEcr.hear(aws_events.deleted(image.ref, tag, media_type, _now()))
            return [{"imageDigest": image.image_digest, "imageTag": tag}]
        home.images.remove(image)
        LocalEcr.hear(aws_events.deleted(image.ref, tag, media_type, _now()))
        tags: Iterable[str] = image.image_tags
        return [{"imageDigest": image.image_digest, "imageTag": t} for t in tags] or [
            {"imageDigest": image.image_digest}
        ]

    def change_storage(self, name: str, image_id: dict[str, str], target: str) -> HeldImage:
        image = self.get(name, image_id)
        if target not in BUCKETS:
            raise ValidationException(f"targetStorageClass is STANDARD or ARCHIVE, not {target!r}")
        image.status = BUCKETS[target]
        if target == "ARCHIVE":
            image.archived_at = _now()
        else:
            image.activated_at = _now()
        LocalEcr.hear(aws_events.storage_changed(image.ref, target, image.image_manifest_media_type, _now()))
        return image


def ecr_of(home: Home) -> LocalEcr:
    backend = ecr_backends[home.registry][home.region]
    assert isinstance(backend, LocalEcr)
    return backend


def manifest_of(digest: str, media_type: str, artifact_media_type: str | None = None) -> str:
    """A manifest for an image known by its digest alone: unlike every other, because images are told by it too."""
    config = {"mediaType": artifact_media_type or CONFIG, "digest": digest, "size": 1}
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": []})


def _now() -> datetime:
    return datetime.now(UTC)
