"""ECR's requests and answers about images and scans, over the state of `ecr.py`. All other requests are moto's.

Times are epoch seconds, pages as long as AWS makes them. moto finds `url_bases` and `url_paths` here.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.ecr.exceptions import InvalidParameterException, ScanNotFoundException
from moto.ecr.models import ecr_backends

from chalicelib.local.ecr.ecr import ACTIVE, EcrRefusal, HeldImage, LocalEcr
from chalicelib.local.ecr.lifecycle import LifecycleAnswers
from chalicelib.local.ecr.pull_through import MISSING, LocalCache, PullThroughAnswers
from chalicelib.local.ecr.replication import ReplicationAnswers
from chalicelib.local.ecr.scans import enhanced_row, enhanced_status
from chalicelib.local.ecr.template_answers import TemplateAnswers
from chalicelib.local.inspector import inspector_of
from chalicelib.local.pages import PlainAnswer, page_of

PAGE = 100
LONGEST_PAGE = 1000


class LocalEcrResponse(LifecycleAnswers, PullThroughAnswers, ReplicationAnswers, TemplateAnswers):
    @property
    def ecr_backend(self) -> LocalEcr:
        """Of the registry in the request, not the caller's."""
        account = self._get_param("registryId") or self.current_account
        backend = ecr_backends[account][self.region]
        assert isinstance(backend, LocalEcr)
        return backend

    def describe_images(self) -> ActionResult:
        ids = self._get_param("imageIds")
        ecr, name = self.ecr_backend, self._get_param("repositoryName")
        if ids and (self._get_param("nextToken") or self._get_param("maxResults")):
            raise InvalidParameterException("imageIds cannot be combined with nextToken or maxResults")
        if ids:
            return PlainAnswer({"imageDetails": [describe(ecr.get(name, i)) for i in ids]})
        images, more = self._page([i for i in ecr.home(name).images if self._is_asked_for(i)])
        return PlainAnswer({"imageDetails": [describe(i) for i in images], **more})

    def batch_get_image(self) -> ActionResult:
        """By a tag alone also through the pull-through cache."""
        ecr, name, asked = self.ecr_backend, self._get_param("repositoryName"), self._get_param("imageIds")
        by_tag = [image_id["imageTag"] for image_id in asked if "imageDigest" not in image_id]
        missed = {tag: LocalCache.pull(ecr, name, tag) for tag in by_tag}
        if name not in ecr.repositories and (failure := next(filter(None, missed.values()), None)) is not None:
            raise EcrRefusal("UnableToGetUpstreamImageException", failure.reason)
        home, images, failures = ecr.home(name), [], []
        for image_id in asked:
            image = ecr.find(home, image_id.get("imageDigest"), image_id.get("imageTag"))
            if image is None or image.status != ACTIVE:
                code, reason = missed.get(image_id.get("imageTag")) or MISSING
                failures.append(_failure(image_id, code, reason))
                continue
            images.append(_manifest(image, image_id.get("imageTag")))
        return PlainAnswer({"images": images, "failures": failures})

    def put_image(self) -> ActionResult:
        tag = self._get_param("imageTag")
        name, manifest = self._get_param("repositoryName"), self._get_param("imageManifest")
        image = self.ecr_backend.put(name, manifest, tag, self._get_param("imageManifestMediaType"))
        return PlainAnswer({"image": _manifest(image, tag)})

    def batch_delete_image(self) -> ActionResult:
        ecr, name = self.ecr_backend, self._get_param("repositoryName")
        gone, failures = [], []
        for image_id in self._get_param("imageIds"):
            if ecr.is_needed(name, image_id.get("imageDigest")):
                failures.append(_failure(image_id, "ImageReferencedByManifestList", "An index needs the image"))
                continue
            deleted = ecr.delete(name, image_id)
            gone += deleted
            if not deleted:
                failures.append(_failure(image_id, *MISSING))
        return PlainAnswer({"imageIds": gone, "failures": failures})

    def update_image_storage_class(self) -> ActionResult:
        image = self.ecr_backend.change_storage(
            self._get_param("repositoryName"), self._get_param("imageId"), self._get_param("targetStorageClass")
        )
        return PlainAnswer({**_named(image), "imageStatus": image.status})

    def describe_image_scan_findings(self) -> ActionResult:
        image = self.ecr_backend.get(self._get_param("repositoryName"), self._get_param("imageId"))
        if (covered := inspector_of(image.region).coverage.get(image.ref.arn)) is not None:
            rows = [enhanced_row(r) for r in inspector_of(image.region).rows_of(image.ref.arn)]
            return self._scan_page(image, enhanced_status(covered), "enhancedFindings", rows, {})
        if (scan := image.basic_scan) is None:
            raise ScanNotFoundException(image.image_digest, image.repository_name, image.registry_id)
        if image.status != ACTIVE:
            status = {"status": "IMAGE_ARCHIVED", "description": "The image is archived and cannot be scanned."}
            return self._scan_page(image, status, "findings", None, {})
        found = dict(scan.get("imageScanFindings") or {})
        return self._scan_page(image, scan["imageScanStatus"], "findings", found.pop("findings", None), found)

    def start_image_scan(self) -> ActionResult:
        image = self.ecr_backend.start_scan(self._get_param("repositoryName"), self._get_param("imageId"))
        return PlainAnswer({**_named(image), "imageScanStatus": {"status": "IN_PROGRESS"}})

    def list_image_referrers(self) -> ActionResult:
        home: Any = self.ecr_backend.home(self._get_param("repositoryName"))
        subject = self._get_param("subjectId")["imageDigest"]
        status = (self._get_param("filter") or {}).get("artifactStatus", ACTIVE)
        page, more = self._page([i for i in home.images if i.subject == subject and status in ("ANY", i.status)])
        rows = [
            {
                "digest": image.image_digest,
                "mediaType": image.image_manifest_media_type,
                "artifactType": image.artifact_media_type,
                "size": len(image.image_manifest),
                "artifactStatus": image.status,
            }
            for image in page
        ]
        return PlainAnswer({"referrers": rows, **more})

    def _scan_page(
        self, image: HeldImage, status: dict[str, str], key: str, rows: list[Any] | None, said: dict[str, Any]
    ) -> ActionResult:
        page, more = self._page(rows or [])
        found = said if rows is None else {**said, key: page}
        return PlainAnswer({**_named(image), "imageScanStatus": status, "imageScanFindings": found, **more})

    def _is_asked_for(self, image: Any) -> bool:
        asked = self._get_param("filter") or {}
        status, tagged = asked.get("imageStatus", ACTIVE), asked.get("tagStatus", "ANY")
        fits = tagged == "ANY" or (tagged == "TAGGED") == bool(image.image_tags)
        return fits and status in ("ANY", image.status)

    def _page(self, items: list[Any]) -> tuple[list[Any], dict[str, str]]:
        size = min(LONGEST_PAGE, int(self._get_param("maxResults") or PAGE))
        try:
            return page_of(items, self._get_param("nextToken"), size)
        except ValueError:
            raise InvalidParameterException("Invalid parameter at 'nextToken'") from None


def describe(image: HeldImage) -> dict[str, Any]:
    """One row of DescribeImages; unknown values are left out."""
    said = {
        **_named(image),
        "imageTags": image.image_tags or None,
        "imageSizeInBytes": image.size_bytes,
        "imagePushedAt": _epoch(image.pushed_at),
        "imageManifestMediaType": image.image_manifest_media_type,
        "artifactMediaType": image.artifact_media_type,
        "subjectManifestDigest": image.subject,
        "imageStatus": image.status,
        "lastRecordedPullTime": _epoch(image.pulled_at),
        "lastArchivedAt": _epoch(image.archived_at),
        "lastActivatedAt": _epoch(image.activated_at),
    }
    del said["imageId"]
    return {"imageDigest": image.image_digest} | {key: value for key, value in said.items() if value is not None}


def _named(image: HeldImage) -> dict[str, Any]:
    return {
        "registryId": image.registry_id,
        "repositoryName": image.repository_name,
        "imageId": {"imageDigest": image.image_digest},
    }


def _manifest(image: HeldImage, tag: str | None) -> dict[str, Any]:
    named = _named(image)
    if tag:
        named["imageId"]["imageTag"] = tag
    media_type = image.image_manifest_media_type
    return {**named, "imageManifest": image.image_manifest, "imageManifestMediaType": media_type}


def _failure(image_id: dict[str, str], code: str, reason: str) -> dict[str, Any]:
    return {"imageId": image_id, "failureCode": code, "failureReason": reason}


def _epoch(at: datetime | None) -> float | None:
    return at.astimezone(UTC).timestamp() if at else None


class ServedEcr(LocalEcr):
    @property
    def _url_module(self) -> Any:
        return sys.modules[__name__]


url_bases = [r"https?://ecr\.(.+)\.amazonaws\.com", r"https?://api\.ecr\.(.+)\.amazonaws\.com"]
url_paths = {"{0}/$": LocalEcrResponse.dispatch}
