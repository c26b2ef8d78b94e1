"""ECR Public as moto lacks it altogether: the images of one alias, described. It scans, archives and signs nothing."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from chalicelib.domain.image import ImageRef

TARGET = "SpencerFrontendService."


class EcrPublic:
    """`account` owns the alias; AWS names it in answers where docker names the alias."""

    def __init__(self, account: str) -> None:
        self.account = account
        self._images: dict[str, dict[str, dict[str, Any]]] = {}

    def hold(self, ref: ImageRef, tags: tuple[str, ...], media_type: str, pushed_at: datetime) -> None:
        self._images.setdefault(ref.repository, {})[ref.digest] = {
            "registryId": self.account,
            "repositoryName": ref.repository,
            "imageDigest": ref.digest,
            "imageTags": list(tags),
            "imagePushedAt": pushed_at.timestamp(),
            "imageManifestMediaType": media_type,
        }

    def answer(self, operation: str, request: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body for one call of the JSON protocol."""
        name = str(request.get("repositoryName"))
        if operation != "DescribeImages":
            return 400, _error("UnsupportedCommandException", f"the local ECR Public knows no {operation}")
        if (held := self._images.get(name)) is None:
            return 400, _error("RepositoryNotFoundException", f"no public repository {name!r}")
        ids = request.get("imageIds") or [{"imageDigest": digest} for digest in held]
        found = [image for i in ids for image in held.values() if _named(image, i)]
        if len(found) < len(ids):
            return 400, _error("ImageNotFoundException", f"not every image is in {name!r}")
        return 200, json.dumps({"imageDetails": found}).encode()


def _named(image: dict[str, Any], image_id: dict[str, str]) -> bool:
    digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
    return digest in (None, image["imageDigest"]) and (tag is None or tag in image["imageTags"])


def _error(code: str, message: str) -> bytes:
    return json.dumps({"__type": code, "message": message}).encode()
