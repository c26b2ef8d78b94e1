"""The images behind an image: an index is not scanned and has no findings; the images of its platforms have."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind, Scan, ScanState


def images_behind(reads: FindingsQueries, image: Header) -> list[Header]:
    """The image itself, or the images of an index; one that is not known yet as a PENDING one."""
    if image.kind is not Kind.INDEX:
        return [image]
    children = [image.ref.home.image(c.digest) for c in image.children if not c.artifact]
    known = reads.headers(children)
    return [known.get(ref) or Header(ref=ref) for ref in children]


def weakest(headers: Sequence[Header]) -> Header | None:
    """One whose scan is not COMPLETE, else the one scanned longest ago."""
    ranked = sorted(headers, key=lambda h: (h.scan.state is ScanState.COMPLETE, _scanned_at(h.scan)))
    return ranked[0] if ranked else None


def _scanned_at(scan: Scan) -> float:
    return 0.0 if scan.scanned_at is None else scan.scanned_at.timestamp()
