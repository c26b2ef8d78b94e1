"""Doubt the images of a repository that nobody could compare for half a day: each that reads as scanned is looked at.

A look that is refused as well, or is not answered, leaves an image without a usable scan, which is not clean; one that
is let in shows what is there. Whoever comes again looks at what is left.
"""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.events.message import Look
from chalicelib.domain.images.image import Repository, ScanState
from chalicelib.domain.reconcile.registry_alert import DOUBTED_AFTER
from chalicelib.services.ports.ports import House

LASTING_ATTEMPTS = 20
"""Time-outs and throttles are tried again. So often, which takes two hours and more, they are no matter of waiting."""


def doubt_images(home: Repository, compared_at: datetime | None, house: House) -> int:
    """`compared_at`: when the repository was last compared, None: never. Returns how many looks were sent: quietly, for
    one alert tells of the registry. Raises TransientError."""
    now = house.clock.now()
    if compared_at is not None and now - compared_at < DOUBTED_AFTER:
        return 0
    read = (h for h in house.table.headers_of(home) if h.exists and h.scan.state is ScanState.COMPLETE)
    looks = [Look(header.ref, now, header.scan.source, quiet=True, doubted=True) for header in read]
    house.outbox.send_all("scans", looks)
    return len(looks)
