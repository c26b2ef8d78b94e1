"""Images pushed by their manifests, which name layers that are not uploaded: the local ECR does not ask for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.domain.images.image import ImageRef, Repository

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

OCI = "application/vnd.oci.image"
MANIFEST, INDEX = f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json"
CONFIG, LAYER = f"{OCI}.config.v1+json", f"{OCI}.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
Raw = dict[str, Any]


class Pusher:
    """Pushes into one repository, which is there."""

    def __init__(self, client: ECRClient, home: Repository) -> None:
        self._client, self._home = client, home
        self._named: Any = {"registryId": home.registry, "repositoryName": home.name}

    def image(self, layers: Sequence[bytes], tags: Sequence[str] = (), config: bytes = b"{}") -> ImageRef:
        said = [self._blob(content, LAYER) for content in layers]
        return self._put({"mediaType": MANIFEST, "config": self._blob(config, CONFIG), "layers": said}, tags)

    def index(self, children: Mapping[str, ImageRef], tags: Sequence[str] = ()) -> ImageRef:
        """`children` by `os/architecture`."""
        rows = []
        for platform, child in children.items():
            system, _, architecture = platform.partition("/")
            row = {"mediaType": MANIFEST, "digest": child.digest, "size": self._size_of(child)}
            rows.append(row | {"platform": {"os": system, "architecture": architecture}})
        return self._put({"mediaType": INDEX, "manifests": rows}, tags)

    def referrer(self, subject: ImageRef, kind: str, content: bytes, tags: Sequence[str] = ()) -> ImageRef:
        """What says something of `subject` (a signature, an SBOM); `kind` is its artifact type. Its config is empty."""
        body = {
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self._blob(b"{}", EMPTY),
            "layers": [self._blob(content, kind)],
            "subject": {"mediaType": MANIFEST, "digest": subject.digest, "size": self._size_of(subject)},
        }
        return self._put(body, tags)

    def _put(self, body: Raw, tags: Sequence[str]) -> ImageRef:
        text = json.dumps({"schemaVersion": 2, **body}, indent=3)
        ref = self._home.image(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
        untagged: list[str | None] = [None]
        for tag in tags or untagged:
            tagged: Any = {"imageTag": tag} if tag else {}
            self._client.put_image(
                **self._named,
                **tagged,
                imageManifest=text,
                imageManifestMediaType=body["mediaType"],
                imageDigest=ref.digest,
            )
        return ref

    def _blob(self, content: bytes, media_type: str) -> Raw:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def _size_of(self, ref: ImageRef) -> int:
        answer = self._client.batch_get_image(**self._named, imageIds=[{"imageDigest": ref.digest}])
        return len(answer["images"][0]["imageManifest"].encode())
