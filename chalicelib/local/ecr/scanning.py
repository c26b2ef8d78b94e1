"""StartImageScan as moto lacks it: the scan of an image that ECR's own scanner makes when it is asked to.

It finds what the image was last found to hold, and nothing where it was never scanned. It is over at once; AWS takes a
minute or so. Sources: ECR API reference (StartImageScan); Amazon ECR user guide (basic scanning, archive).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from moto.ecr.exceptions import LimitExceededException, ValidationException

from chalicelib.domain.images.image import CONTAINER_CONFIG_TYPES, INDEX_MEDIA_TYPES
from chalicelib.local.ecr.blobs import EcrRefusal
from chalicelib.local.ecr.ecr import ACTIVE, HeldImage, LocalEcr
from chalicelib.local.events import events as aws_events
from chalicelib.parsers.wire.wire import instant

ONCE_IN = timedelta(hours=24)
COMPLETE = {"status": "COMPLETE", "description": "The scan was completed successfully."}


def start_scan(ecr: LocalEcr, name: str, image_id: dict[str, str]) -> dict[str, Any]:
    """The answer; its event is told."""
    image, now = ecr.get(name, image_id), LocalEcr.clock.now()
    if ecr.get_registry_scanning_configuration()["scanType"] == "ENHANCED":
        raise ValidationException("This feature is disabled: the registry uses enhanced scanning")
    if image.status != ACTIVE:
        raise EcrRefusal("ImageArchivedException", f"The image {image.image_digest} is {image.status}")
    if not _is_scanned(image):
        said = f"The image {image.image_digest} is of a type that is not supported"
        raise EcrRefusal("UnsupportedImageTypeException", said)
    found = dict((image.basic_scan or {}).get("imageScanFindings") or {})
    scanned_at = instant(found.get("imageScanCompletedAt"), "$.imageScanCompletedAt")
    if scanned_at is not None and now < scanned_at + ONCE_IN:
        raise LimitExceededException()
    found |= {"imageScanCompletedAt": now.timestamp(), "vulnerabilitySourceUpdatedAt": now.timestamp()}
    image.basic_scan = {"imageScanStatus": COMPLETE, "imageScanFindings": {"findings": [], **found}}
    counts = found.get("findingSeverityCounts")
    LocalEcr.hear(aws_events.basic_scan_finished(image.ref, image.image_tags, "COMPLETE", counts, now))
    return {
        "registryId": image.registry_id,
        "repositoryName": name,
        "imageId": {"imageDigest": image.image_digest},
        "imageScanStatus": {"status": "IN_PROGRESS"},
    }


def _is_scanned(image: HeldImage) -> bool:
    artifact = image.artifact_media_type is not None and image.artifact_media_type not in CONTAINER_CONFIG_TYPES
    return not artifact and image.subject is None and image.image_manifest_media_type not in INDEX_MEDIA_TYPES
