"""Which name was meant where somebody mistyped one. Pure.

Globs with `!` exclusions, as policies and waivers write them. Nothing of what they are compared with lives here.

`*` is any run of characters, `/` included (as in ECR's own repository filters), `?` is one character, everything else
is itself. A name matches when some glob matches it and no `!` glob does; exclusions alone match everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate


class Globs:
    """A compiled list of globs. `excluding` says that it holds exclusions only."""

    __slots__ = ("_no", "_yes", "excluding", "texts")

    def __init__(self, texts: str | Iterable[str]) -> None:
        self.texts = (texts,) if isinstance(texts, str) else tuple(texts)
        wanted = [t for t in self.texts if not t.startswith("!")]
        refused = [t[1:] for t in self.texts if t.startswith("!")]
        self.excluding = bool(refused) and not wanted
        self._yes = _compiled(["*"] if self.excluding else wanted)
        self._no = _compiled(refused)

    def match(self, name: str) -> bool:
        return self._yes.match(name) is not None and self._no.match(name) is None

    def match_aliases(self, names: Iterable[str]) -> bool:
        """Several names of one thing: one of them is wanted, none of them is excluded."""
        known = tuple(names)
        return any(self._yes.match(n) for n in known) and not any(self._no.match(n) for n in known)


def _compiled(globs: list[str]) -> re.Pattern[str]:
    """`fnmatch.translate` never backtracks past a `*`, so that a hostile glob costs no time; `[` is itself."""
    if not globs:
        return re.compile(r"(?!)")
    return re.compile("|".join(translate(g.replace("[", "[[]")) for g in globs))


LONGEST = 100
LIKE = 0.6


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is most like `name`, whatever the case; None: none is like it."""
    # Imported here: a cold start does not wait for what only a mistake needs.
    from difflib import get_close_matches

    by_folded = {known.casefold(): known for known in names}
    close = get_close_matches(name[:LONGEST].casefold(), list(by_folded), n=1, cutoff=LIKE)
    return by_folded[close[0]] if close else None
