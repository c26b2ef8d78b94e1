"""Release one image by a person's word: it can be pulled again, whatever its verdict, until that gets worse."""

from __future__ import annotations

from chalicelib.domain.headers.effect import EffectKind
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.enforcement.give_order import Given, give_order
from chalicelib.services.ports.ports import House


def release_image(
    ref: ImageRef, by: str, reason: str, house: House, *, dry_run: bool = False, undoes: str | None = None
) -> Given:
    """In every mode, exempt or not: it takes nothing from anyone. Raises NotFoundError, ParameterError."""
    return give_order(EffectKind.RELEASE, ref, by, reason, house, dry_run=dry_run, undoes=undoes)
