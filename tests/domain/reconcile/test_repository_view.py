"""A repository is held whole while it is compared: what is not compared is left out, what is equal is held once."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.table.headers import header_item, read_header_item
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Stage
from chalicelib.domain.images.image import ImageDetail, InUse, InUseState, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.reconcile.reconciliation import compare
from chalicelib.domain.reconcile.registry_listing import ImagesListed
from chalicelib.domain.reconcile.repository_view import RepositoryView, compared
from chalicelib.parsers.images.images import parse_describe_images
from tests.fakes.images import ACCOUNT, digest, home, ref
from tests.fakes.queries import NOW

IMAGES = 1_000
TYPE = "application/vnd.oci.image.manifest.v1+json"


def listed() -> dict[str, ImageDetail]:
    rows = [
        {
            "registryId": ACCOUNT,
            "repositoryName": home().name,
            "imageDigest": digest(n),
            "imageTags": [f"v1.{n}", f"build-{n}"],
            "imagePushedAt": (NOW - timedelta(days=9, seconds=n)).timestamp(),
            "imageManifestMediaType": TYPE,
            "artifactMediaType": "application/vnd.oci.image.config.v1+json",
        }
        for n in range(IMAGES)
    ]
    return {image.ref.digest: image for image in parse_describe_images({"imageDetails": rows}, home().region).images}


def stored(n: int, **changes: Any) -> Header:
    reasons = (Reason("critical", Decision.BLOCK, "a critical flaw", 3, vulnerability_ids=(f"CVE-2026-{n}", "CVE-1")),)
    pushed_at = NOW - timedelta(days=9, seconds=n)
    header = Header(
        ref=ref(n), version=1, exists=True, existence_at=pushed_at, pushed_at=pushed_at, known_at=pushed_at,
        tags=(f"v1.{n}", f"build-{n}"), media_type=TYPE, platform="linux/amd64", sketch=bytes(range(120)),
        scan=Scan(ScanState.COMPLETE, None, Source.ENHANCED, pushed_at), scan_seen_at=NOW, refreshed_at=NOW,
        in_use=InUse(InUseState.YES, 3, NOW, NOW, ("service a in cluster b",)),
        verdict=Verdict(Decision.BLOCK, reasons, 3, pushed_at),
    )  # fmt: skip
    return read_header_item(header_item(msgspec.structs.replace(header, **changes)))


def test_an_image_is_held_in_less_than_two_kilobytes() -> None:
    tracemalloc.start()
    try:
        images = listed()
        headers = {h.ref.digest: h for h in (compared(stored(n), images.get(digest(n))) for n in range(IMAGES))}
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(headers) == IMAGES
    assert held / IMAGES < 2_000


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tags": ("v0",)},
        {"pushed_at": NOW - timedelta(days=30)},
        {"exists": False},
        {"refresh_due_at": NOW - timedelta(days=1)},
        {"enforcement": Enforcement(ActionType.QUARANTINE, 1, Stage.BEGUN, NOW)},
        {"enforcement": Enforcement(ActionType.QUARANTINE, 1, Stage.DONE, NOW)},
    ],
)
def test_what_is_left_out_changes_no_difference(changes: dict[str, Any]) -> None:
    images = {digest(1): listed()[digest(1)]}
    for detail in (images.get(digest(1)), None):
        there = images if detail is not None else {}
        whole, bare = stored(1, **changes), compared(stored(1, **changes), detail)
        views = [
            RepositoryView(home(), ImagesListed(NOW, there), {h.ref.digest: h}, timedelta(minutes=1))
            for h in (whole, bare)
        ]
        assert compare(views[0]) == compare(views[1])
