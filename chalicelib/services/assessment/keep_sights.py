"""Keep what events show of what AWS leaves open (`domain.sight`), beside what they are heard for."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.doctor.sight import sights_of
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.images.image import Repository
from chalicelib.errors import LazarettoError
from chalicelib.services.ports.context import Context


def keep_sights(deliveries: Sequence[Delivery], context: Context) -> None:
    """No message fails, nor comes again, for want of it: the next event of its kind shows the same."""
    names: dict[Repository, set[str]] = {}
    for delivery in deliveries:
        for home, sight in sights_of(delivery):
            names.setdefault(home, set()).add(sight.fact)
    for home, seen in names.items():
        try:
            context.table.keep_sights(home, sorted(seen))
        except LazarettoError:
            continue
