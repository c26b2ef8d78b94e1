"""ECR's blobs as moto lacks them: their bytes, as long as an image needs them; what an image must find when it is put.

moto keeps no bytes, takes any digest and any part, gives no download, and deletes children of an index. Here are
the layers, and ECR's requests and answers for layer downloads and referrers.

A download URL leads back to the server that gave it: `GET /local/layers/<account>/<region>/<repository>/<digest>`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, ClassVar

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecr.exceptions import ImageAlreadyExistsException, UploadNotFoundException
from moto.ecr.models import ECRBackend, Repository, ecr_backends
from moto.ecr.responses import ECRResponse
from werkzeug.wrappers import Request, Response

LEAST_PART_BYTES = 5 * 1024 * 1024


class EcrRefusal(ServiceException):
    """By code and message. moto looks for the code in the service whose module defines the class: not in its core."""


class BlobEcr(ECRBackend):
    """`least_part_bytes`: what every part of a layer but the last needs; tests make it small."""

    least_part_bytes: ClassVar[int] = LEAST_PART_BYTES

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._bytes: dict[tuple[str, str], bytes] = {}
        self._lengths: dict[str, list[int]] = {}

    def hold_blob(self, name: str, content: bytes) -> str:
        """Its digest; the blob is in the repository as if a client had pushed it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.repositories[name].layers[digest] = len(content)
        self._bytes[name, digest] = content
        return digest

    def blob(self, name: str, digest: str) -> bytes | None:
        """None where ECR would sign no URL: it is not there, or no image that can be pulled needs it."""
        home = self.repositories.get(name)
        needed = home is not None and any(digest in blobs_of(i.image_manifest) for i in _active(home))
        return self._bytes.get((name, digest)) if needed else None

    # ---- uploads

    def upload_layer_part(self, repository_name: str, upload_id: str, *said: Any, **named: Any) -> dict[str, Any]:
        answer = super().upload_layer_part(repository_name, upload_id, *said, **named)
        self._lengths.setdefault(upload_id, []).append(answer["lastByteReceived"] + 1)
        return answer

    def complete_layer_upload(
        self, repository_name: str, upload_id: str, layer_digests: list[str], registry_id: str | None = None
    ) -> dict[str, Any]:
        home = self._get_repository(repository_name, registry_id)
        upload = home.uploads.get(upload_id)
        if upload is None:
            raise UploadNotFoundException(upload_id, repository_name, home.registry_id)
        content, ends = bytes(upload.layer_parts), self._lengths.get(upload_id, [])
        if not ends:
            raise EcrRefusal("EmptyUploadException", f"The upload {upload_id} does not have any parts")
        if any(end - start < self.least_part_bytes for start, end in zip([0, *ends], ends[:-1], strict=False)):
            raise EcrRefusal("LayerPartTooSmallException", "All parts except the last should be at least 5MB")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if layer_digests and digest not in layer_digests:
            raise EcrRefusal("InvalidLayerException", f"The upload has the digest {digest}, not the one specified")
        if digest in home.layers:
            raise EcrRefusal("LayerAlreadyExistsException", f"The layer {digest} already exists")
        del self._lengths[upload_id]
        self._bytes[repository_name, digest] = content
        return super().complete_layer_upload(repository_name, upload_id, layer_digests, registry_id)

    # ---- images and what they need

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
            self._bytes.pop((name, digest), None)


def blobs_of(manifest: str) -> set[str]:
    """Config and layers, but those that are not to be handed on."""
    body = json.loads(manifest)
    held = [body.get("config"), *(body.get("layers") or [])]
    return {blob["digest"] for blob in held if blob and not _is_foreign(blob.get("mediaType", ""))}


def children_of(manifest: str) -> list[str]:
    return [child["digest"] for child in json.loads(manifest).get("manifests") or []]


def _is_foreign(media_type: str) -> bool:
    return ".foreign." in media_type or ".nondistributable." in media_type


def _active(home: Repository) -> Iterator[Any]:
    return (image for image in home.images if getattr(image, "status", "ACTIVE") == "ACTIVE")


LAYERS = "/local/layers/"
PAGE = 20
LONGEST_PAGE = 50


class BlobAnswers(ECRResponse):
    def get_download_url_for_layer(self) -> ActionResult:  # type: ignore[override]
        name, digest = self._get_param("repositoryName"), self._get_param("layerDigest")
        ecr = self.ecr_backend
        assert isinstance(ecr, BlobEcr)
        home = ecr._get_repository(name)
        if ecr.blob(name, digest) is None:
            raise EcrRefusal("LayersNotFoundException", f"The layer {digest} is needed by no image of {name}")
        path = f"{LAYERS}{home.account_id}/{self.region}/{name}/{digest}"
        return ActionResult({"downloadUrl": f"http://{self.headers['Host']}{path}", "layerDigest": digest})

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


def download_layer(request: Request) -> Response:
    """404 where the layer is no longer needed by an image, as a URL of ECR's leads nowhere then."""
    account, _, rest = request.path.removeprefix(LAYERS).partition("/")
    region, _, rest = rest.partition("/")
    name, _, digest = rest.rpartition("/")
    ecr = ecr_backends[account][region]
    content = ecr.blob(name, digest) if isinstance(ecr, BlobEcr) else None
    return Response(status=404) if content is None else Response(content, content_type="application/octet-stream")
