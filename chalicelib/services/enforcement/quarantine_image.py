"""Quarantine one image by a person's word, whatever its verdict, until a person releases it."""

from __future__ import annotations

from chalicelib.domain.headers.effect import EffectKind
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.enforcement.give_order import Given, give_order
from chalicelib.services.ports.ports import House


def quarantine_image(
    ref: ImageRef, by: str, reason: str, house: House, *, dry_run: bool = False, undoes: str | None = None
) -> Given:
    """It is checked as any quarantine is: what runs it, and the fuse. Raises NotFoundError, ParameterError,
    ConflictError where nothing is ever quarantined (observe, exempt, public, gone)."""
    return give_order(EffectKind.QUARANTINE, ref, by, reason, house, dry_run=dry_run, undoes=undoes)
