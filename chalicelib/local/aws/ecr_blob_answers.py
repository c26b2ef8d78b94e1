"""ECR's requests and answers for layer downloads and referrers, over `ecr_blobs.py`'s state.

A download URL leads back to the server that gave it: `GET /local/layers/<account>/<region>/<repository>/<digest>`.
"""

from __future__ import annotations

import base64
from typing import Any

from moto.core.responses import ActionResult
from moto.ecr.models import ecr_backends
from moto.ecr.responses import ECRResponse
from werkzeug.wrappers import Request, Response

from chalicelib.local.aws.ecr_blobs import BlobEcr, EcrRefusal

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
