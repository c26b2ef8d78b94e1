"""Which scanner answers for an image: Amazon Inspector or ECR's own. Both are asked through their own adapters.

A registry has one scanner at a time, and a switch hides what the other found. DescribeImageScanFindings tells which it
is, except in states both give (pending, failed, unsupported, archived) and for images never scanned: there Inspector's
coverage tells, and only what Inspector does not know is ECR's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from chalicelib.adapters.inspector.inspector import Inspector
from chalicelib.domain.images.document import Listing
from chalicelib.domain.images.image import ImageRef, ScanState, Source
from chalicelib.errors import TransientError, UpstreamError


class BasicScanner(Protocol):
    def look_basic(self, ref: ImageRef) -> Listing: ...


class EitherScanner:
    def __init__(self, inspector: Inspector, registry: BasicScanner) -> None:
        self._inspector, self._registry = inspector, registry

    def look(self, ref: ImageRef, source: str | None, since: datetime | None = None) -> Listing:
        """All pages, then coverage. `source` None: whichever scanner is in force; `since`: see `Inspector.look`.

        Raises AbsentError where the repository or the image is not there.
        """
        if source == Source.ENHANCED and not ref.home.public:
            return self._inspector.look(ref, since)
        listing = self._registry.look_basic(ref)
        if listing.source is Source.ENHANCED or self._is_inspectors(ref, listing):
            return self._inspector.look(ref, since)
        return listing

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        """By findingArn; ids without an answer are absent."""
        return self._inspector.known_exploited(finding_ids)

    def _is_inspectors(self, ref: ImageRef, listing: Listing) -> bool:
        """An Inspector that may not be asked, or is not enabled, does not scan the image either."""
        if ref.home.public or listing.scan.state in (ScanState.COMPLETE, ScanState.IN_PROGRESS):
            return False
        try:
            return ref in self._inspector.coverage([ref])
        except TransientError:
            raise
        except UpstreamError:
            return False
