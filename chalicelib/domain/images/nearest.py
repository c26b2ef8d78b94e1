"""Which name was meant where somebody mistyped one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 100
LIKE = 0.6


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is most like `name`, whatever the case; None: none is like it."""
    # Imported here: a cold start does not wait for what only a mistake needs.
    from difflib import get_close_matches

    by_folded = {known.casefold(): known for known in names}
    close = get_close_matches(name[:LONGEST].casefold(), list(by_folded), n=1, cutoff=LIKE)
    return by_folded[close[0]] if close else None
