"""Which image a signature is of, as the registry lists both. A signature is not verified here: it refers to the image.

Notation, AWS Signer and cosign from 2.6 on name their subject in the manifest; cosign before in a tag alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Set

from chalicelib.domain.images.image import ImageDetail

SIGNATURE_TYPES = (
    "application/vnd.cncf.notary.signature",
    "application/vnd.dev.cosign",
    "application/vnd.dev.sigstore",
)
_COSIGN_TAG = re.compile(r"(sha256)-([0-9a-f]{64})\.sig")


def signed_by(artifact_media_type: str | None, subject: str | None, tags: Collection[str]) -> Set[str]:
    """The digests that are signed by what has these. Empty: it is no signature."""
    named = {f"{found[1]}:{found[2]}" for tag in tags if (found := _COSIGN_TAG.fullmatch(tag))}
    signs = subject is not None and (artifact_media_type or "").startswith(SIGNATURE_TYPES)
    return {*named, subject} if signs and subject is not None else named


def signed_among(images: Iterable[ImageDetail]) -> Set[str]:
    """The digests that are signed, of a whole repository."""
    found: set[str] = set()
    for image in images:
        found |= signed_by(image.artifact_media_type, image.subject_digest, image.tags)
    return found


def with_listed(known: bool | None, listed: bool) -> bool | None:
    """What is known of a signature once all of a repository was `listed`. One that an event has told of and that is
    not listed may be newer than the listing: the next one tells."""
    return True if listed else None if known else False
