"""Images and rows of the local AWS, for tests: composed, nothing of AWS's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered
from chalicelib.local.demo.demo_registry import Flaw, enhanced_finding
from chalicelib.local.ecr.ecr import HeldImage, ecr_of
from chalicelib.local.inspector import inspector_of

REGION = "eu-west-1"
PUSHED = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
SCANNED = datetime(2026, 3, 1, 10, 5, tzinfo=UTC)


def ref(repository: str = "team/api", digit: str = "a", region: str = REGION) -> ImageRef:
    return ImageRef(ACCOUNT, region, repository, f"sha256:{digit * 64}")


def hold(image: ImageRef, *tags: str, pushed_at: datetime = PUSHED) -> HeldImage:
    held = ecr_of(image.home).hold_image(image.repository, image.digest, pushed_at=pushed_at)
    for tag in tags:
        ecr_of(image.home).tag_image(held, tag)
    return held


def row(image: ImageRef, number: int = 1, severity: str = "HIGH", **changes: Any) -> dict[str, Any]:
    flaw = Flaw(f"CVE-2026-{number:05d}", severity, f"package-{number}", "1.0", "1.1", 7.5, 0.1)
    return enhanced_finding(image, flaw, ("1.0.0",), PUSHED, SCANNED) | changes


def scanned(image: ImageRef, *rows: dict[str, Any], code: str = "ACTIVE", reason: str = "SUCCESSFUL") -> None:
    """Holds the image with what Inspector lists of it."""
    hold(image, "1.0.0")
    inspector = inspector_of(image.region)
    for one in rows:
        inspector.hold(image.arn, one)
    inspector.coverage[image.arn] = covered(image, code, reason, SCANNED)
