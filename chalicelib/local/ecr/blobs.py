"""What moto's ECR lacks of layers, indexes and referrers, and the pages and errors of all our answers.

moto deletes the children of an index, lists no referrers, and takes a manifest whose layers are missing.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException
from moto.ecr.models import ECRBackend, Repository
from moto.ecr.responses import ECRResponse

PAGE = 20
LONGEST_PAGE = 50


class EcrRefusal(ServiceException):
    """By code and message. moto looks for the code in the service whose module defines the class: not in its core."""


class EcrAnswer(ActionResult):
    """Already in the words of the API: moto has nothing to translate."""

    def execute_result(self, context: Any) -> tuple[int, dict[str, str], str]:
        return 200, {}, json.dumps(self.result)


def page_of(rows: list[Any], token: str | None, size: int) -> tuple[list[Any], dict[str, str]]:
    """The page that begins at `token`, and the `nextToken` where more follow. Raises ValueError for a bad token."""
    start = int(base64.b64decode(token or "") or 0)
    end = start + size
    more = {"nextToken": base64.b64encode(str(end).encode()).decode()} if end < len(rows) else {}
    return rows[start:end], more


class BlobEcr(ECRBackend):
    def _resolve_image_tag_mutability(self, repository: Repository, proposed_image_tag: str) -> list[Any]:
        """moto answers a taken tag with the error of an image that exists."""
        try:
            return list(super()._resolve_image_tag_mutability(repository, proposed_image_tag))
        except ImageAlreadyExistsException as error:
            raise EcrRefusal("ImageTagAlreadyExistsException", error.message) from None

    def refuse_incomplete(self, name: str, manifest: str, digest: str | None) -> None:
        """Checks only clients that name the expected digest, as docker does: the demo pushes bare manifests. An image
        that is stored already only gets a tag."""
        if digest is None:
            return
        home = self._get_repository(name)
        if any((image.image_digest, image.image_manifest) == (digest, manifest) for image in home.images):
            return
        if digest != f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}":
            raise EcrRefusal("ImageDigestDoesNotMatchException", f"The manifest does not have the digest {digest}")
        if lacking := blobs_of(manifest) - home.layers.keys():
            raise EcrRefusal("LayersNotFoundException", f"The layers {sorted(lacking)} do not exist")
        if lacking := set(children_of(manifest)) - {image.image_digest for image in home.images}:
            raise EcrRefusal("ReferencedImagesNotFoundException", f"The images {sorted(lacking)} do not exist")

    def is_needed(self, name: str, digest: str | None) -> bool:
        """Whether an index of the repository lists it: then ECR does not delete it."""
        return any(digest in children_of(image.image_manifest) for image in self._get_repository(name).images)

    def forget_blobs(self, name: str, manifest: str) -> None:
        """Drops the layers of a deleted image that no other image needs. ECR does so in its own time."""
        home = self._get_repository(name)
        needed = {digest for image in home.images for digest in blobs_of(image.image_manifest)}
        for digest in blobs_of(manifest) - needed:
            home.layers.pop(digest, None)


def blobs_of(manifest: str) -> set[str]:
    """Config and layers, without those that must not be distributed."""
    body = json.loads(manifest)
    held = [body.get("config"), *(body.get("layers") or [])]
    return {blob["digest"] for blob in held if blob and not _is_foreign(blob.get("mediaType", ""))}


def children_of(manifest: str) -> list[str]:
    return [child["digest"] for child in json.loads(manifest).get("manifests") or []]


def _is_foreign(media_type: str) -> bool:
    return ".foreign." in media_type or ".nondistributable." in media_type


class BlobAnswers(ECRResponse):
    def list_image_referrers(self) -> ActionResult:
        home: Any = self.ecr_backend._get_repository(self._get_param("repositoryName"))
        subject = self._get_param("subjectId")["imageDigest"]
        status = (self._get_param("filter") or {}).get("artifactStatus", "ACTIVE")
        found = [i for i in home.images if i.subject == subject and status in ("ANY", i.status)]
        rows = [
            {
                "digest": image.image_digest,
                "mediaType": image.image_manifest_media_type,
                "artifactType": image.artifact_media_type,
                "size": len(image.image_manifest),
                "artifactStatus": image.status,
            }
            for image in found
        ]
        size = min(LONGEST_PAGE, int(self._get_param("maxResults") or PAGE))
        page, more = page_of(rows, self._get_param("nextToken"), size)
        return ActionResult({"referrers": page, **more})
