"""What moto's ECR lacks of layers, indexes and referrers: what an image must find when it is put, what keeps it there.

moto deletes the children of an index, lists no referrers, and takes a manifest whose layers are not there.
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


class EcrRefusal(ServiceException):
    """By code and message. moto looks for the code in the service whose module defines the class: not in its core."""


class BlobEcr(ECRBackend):
    def _resolve_image_tag_mutability(self, repository: Repository, proposed_image_tag: str) -> list[Any]:
        """moto calls a tag that is taken by the name of an image that is there."""
        try:
            return list(super()._resolve_image_tag_mutability(repository, proposed_image_tag))
        except ImageAlreadyExistsException as error:
            raise EcrRefusal("ImageTagAlreadyExistsException", error.message) from None

    def refuse_incomplete(self, name: str, manifest: str, digest: str | None) -> None:
        """Of a client that names the digest it expects, as docker does. Others, as the demo, push bare manifests.
        An image that is held as it is only gets a tag."""
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
        """Whether an index of the repository holds it: then ECR does not delete it."""
        return any(digest in children_of(image.image_manifest) for image in self._get_repository(name).images)

    def forget_blobs(self, name: str, manifest: str) -> None:
        """Of an image that was deleted: what no other one needs goes. ECR does so in its own time."""
        home = self._get_repository(name)
        needed = {digest for image in home.images for digest in blobs_of(image.image_manifest)}
        for digest in blobs_of(manifest) - needed:
            home.layers.pop(digest, None)


def blobs_of(manifest: str) -> set[str]:
    """Config and layers, but those that are not to be handed on."""
    body = json.loads(manifest)
    held = [body.get("config"), *(body.get("layers") or [])]
    return {blob["digest"] for blob in held if blob and not _is_foreign(blob.get("mediaType", ""))}


def children_of(manifest: str) -> list[str]:
    return [child["digest"] for child in json.loads(manifest).get("manifests") or []]


def _is_foreign(media_type: str) -> bool:
    return ".foreign." in media_type or ".nondistributable." in media_type


PAGE = 20
LONGEST_PAGE = 50


class BlobAnswers(ECRResponse):
    def list_image_referrers(self) -> ActionResult:
        home: Any = self.ecr_backend._get_repository(self._get_param("repositoryName"))
        subject = self._get_param("subjectId")["imageDigest"]
        status = (self._get_param("filter") or {}).get("artifactStatus", "ACTIVE")
        found = [i for i in home.images if i.subject == subject and status in ("ANY", i.status)]
        start = int(base64.b64decode(self._get_param("nextToken") or "") or 0)
        end = start + min(LONGEST_PAGE, int(self._get_param("maxResults") or PAGE))
        rows = [
            {
                "digest": image.image_digest,
                "mediaType": image.image_manifest_media_type,
                "artifactType": image.artifact_media_type,
                "size": len(image.image_manifest),
                "artifactStatus": image.status,
            }
            for image in found[start:end]
        ]
        token = {"nextToken": base64.b64encode(str(end).encode()).decode()} if end < len(found) else {}
        return ActionResult({"referrers": rows, **token})
