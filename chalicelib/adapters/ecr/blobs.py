"""Blobs of Amazon ECR: which are there, and one copied from repository to repository, part by part in constant memory.

ECR computes the digest of what it receives and refuses another; here it is computed as well, before ECR is told that
the upload is complete. An upload that is left before that is nothing, and ECR forgets it: a blob is there whole or not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.errors import aws_call, code_of
from chalicelib.adapters.ecr.layer_download import LayerDownload
from chalicelib.domain.images.image import Repository
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.parsers.images.manifest_blobs import Blob

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

IN_A_BATCH = 100
PART_BYTES = 10 * 1024 * 1024
"""The longest part that is sent, whatever ECR asks for: botocore holds it several times over while it sends it. ECR's
quotas: 5 to 10 MiB a part (the last may be shorter), 4,200 parts, so 41 GiB a layer."""


class EcrBlobs:
    """`client_of` gives the ECR client of an account and a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient], part_bytes: int = PART_BYTES) -> None:
        self._client_of, self._part_bytes = client_of, part_bytes
        self._download = LayerDownload()

    def available(self, home: Repository, digests: Collection[str]) -> dict[str, int]:
        """Sizes in bytes by digest; what is not AVAILABLE is absent from the answer."""
        found: dict[str, int] = {}
        ordered = sorted(digests)
        for start in range(0, len(ordered), IN_A_BATCH):
            with aws_call(f"ask for layers of {home.path}"):
                answer: Any = self._client_of(home.registry, home.region).batch_check_layer_availability(
                    **_named(home), layerDigests=ordered[start : start + IN_A_BATCH]
                )
            for layer in answer.get("layers") or ():
                if layer.get("layerAvailability") == "AVAILABLE":
                    found[layer["layerDigest"]] = layer["layerSize"]
        return found

    def copy(self, blob: Blob, origin: Repository, target: Repository, is_over: Callable[[], bool]) -> bool:
        """False: `is_over` said so before the last part was sent, and nothing of it is left."""
        client = self._client_of(target.registry, target.region)
        with aws_call(f"find the layer {blob.digest} of {origin.path}"):
            url = client.get_download_url_for_layer(**_named(origin), layerDigest=blob.digest)["downloadUrl"]
        with aws_call(f"begin a layer of {target.path}"):
            begun: Any = client.initiate_layer_upload(**_named(target))
        sent, seen = 0, hashlib.sha256()
        size = min(self._part_bytes, begun.get("partSize") or self._part_bytes)
        with closing(self._download.chunks(url, client.meta.endpoint_url)) as chunks:
            for part in _parts(chunks, size):
                if is_over():
                    return False
                seen.update(part)
                self._send(target, begun["uploadId"], sent, part)
                sent += len(part)
        if (found := f"sha256:{seen.hexdigest()}") != blob.digest or sent != blob.size_bytes:
            said = f"{blob.digest} of {blob.size_bytes} bytes"
            raise UpstreamError(f"the layer {said} of {origin.path} is read as {found} of {sent} bytes")
        self._complete(target, begun["uploadId"], blob.digest)
        return True

    def _send(self, home: Repository, upload: str, first: int, part: bytes) -> None:
        """A part that ECR has already (its answer to the first try was lost) is success."""
        last = first + len(part) - 1
        try:
            with aws_call(f"send a part of a layer of {home.path}"):
                self._client_of(home.registry, home.region).upload_layer_part(
                    **_named(home), uploadId=upload, partFirstByte=first, partLastByte=last, layerPartBlob=part
                )
        except UpstreamError as error:
            if code_of(error) == "UploadNotFoundException":
                raise TransientError(str(error)) from error
            if _last_byte(error) != last:
                raise

    def _complete(self, home: Repository, upload: str, digest: str) -> None:
        """An upload that is gone may have been completed by a try whose answer was lost: to be asked for anew."""
        try:
            with aws_call(f"complete the layer {digest} of {home.path}"):
                self._client_of(home.registry, home.region).complete_layer_upload(
                    **_named(home), uploadId=upload, layerDigests=[digest]
                )
        except UpstreamError as error:
            if code_of(error) == "UploadNotFoundException":
                raise TransientError(str(error)) from error
            if code_of(error) != "LayerAlreadyExistsException":
                raise


def _parts(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Of exactly `size` bytes, but the last."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def _last_byte(error: UpstreamError) -> int | None:
    """Of an InvalidLayerPartException: how far ECR has what was sent before."""
    response: dict[str, Any] = getattr(error.__cause__, "response", {})
    return response.get("lastValidByteReceived") if code_of(error) == "InvalidLayerPartException" else None


def _named(home: Repository) -> Any:
    return {"registryId": home.registry, "repositoryName": home.name}
