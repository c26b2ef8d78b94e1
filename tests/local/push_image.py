"""Images pushed by their manifests, which name layers that are not uploaded: the local ECR does not ask for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local import events as aws_events
from chalicelib.local.aws.seed import covered
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

    from chalicelib.local.aws.stack import LocalStack

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

    def image(self, layers: Sequence[bytes], tags: Sequence[str] = (), config: bytes = b"{}", **more: Any) -> ImageRef:
        """`more`: what else its manifest says."""
        return self.put({**self._image(layers, config), **more}, tags)

    def digest_of(self, layers: Sequence[bytes], config: bytes = b"{}") -> str:
        """That the image has, or will have."""
        return _digest(_text(self._image(layers, config)))

    def _image(self, layers: Sequence[bytes], config: bytes) -> Raw:
        said = [self._blob(content, LAYER) for content in layers]
        return {"mediaType": MANIFEST, "config": self._blob(config, CONFIG), "layers": said}

    def index(self, children: Mapping[str, ImageRef], tags: Sequence[str] = ()) -> ImageRef:
        """`children` by `os/architecture`."""
        rows = []
        for platform, child in children.items():
            system, _, architecture = platform.partition("/")
            row = {"mediaType": MANIFEST, "digest": child.digest, "size": self._size_of(child)}
            rows.append(row | {"platform": {"os": system, "architecture": architecture}})
        return self.put({"mediaType": INDEX, "manifests": rows}, tags)

    def referrer(self, subject: ImageRef, kind: str, content: bytes, tags: Sequence[str] = ()) -> ImageRef:
        """What says something of `subject` (a signature, an SBOM); `kind` is its artifact type. Its config is empty."""
        body = {
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": self._blob(b"{}", EMPTY),
            "layers": [self._blob(content, kind)],
            "subject": {"mediaType": MANIFEST, "digest": subject.digest, "size": self._size_of(subject)},
        }
        return self.put(body, tags)

    def put(self, body: Raw, tags: Sequence[str]) -> ImageRef:
        text = _text(body)
        ref = self._home.image(_digest(text))
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
        return {
            "mediaType": media_type,
            "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "size": len(content),
        }

    def _size_of(self, ref: ImageRef) -> int:
        answer = self._client.batch_get_image(**self._named, imageIds=[{"imageDigest": ref.digest}])
        return len(answer["images"][0]["imageManifest"].encode())


def scan_image(stack: LocalStack, ref: ImageRef, *, flaw: bool) -> None:
    """Inspector has scanned it, with a critical flaw or without any; nothing is handled yet."""
    now = stack.clock.now()
    with stack.aws.lock:
        inspector = inspector_of(ref.region)
        if flaw:
            image = ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest})
            row = demo_registry.enhanced_finding(ref, demo_registry.OPENSSL, (), image.pushed_at, now)
            inspector.hold(ref.arn, {**row, "severity": "CRITICAL"})
        inspector.coverage[ref.arn] = covered(ref, "ACTIVE", "SUCCESSFUL", now)
    counts = {"CRITICAL": 1} if flaw else {}
    stack.aws.put_event(aws_events.inspector_scan_finished(ref, (), counts, now))


def _text(body: Raw) -> str:
    return json.dumps({"schemaVersion": 2, **body}, indent=3)


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
