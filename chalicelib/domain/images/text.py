"""Text from outside: globs that match it, the nearest right word, secrets left out, and made harmless for screens.

Each channel escapes for its own medium.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import translate

from chalicelib.domain.channels.channel import SECRET_PATTERNS


class Globs:
    """A compiled list of globs. `*` is any run of characters, `/` included (as in ECR's own repository filters), `?` is
    one character, everything else is itself. A name matches when some glob matches it and no `!` glob does; exclusions
    alone (`excluding`) match everything else."""

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


ELLIPSIS = "…"
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SLACK = 64
_SCHEME = re.compile(r":(?=[/\\]{2})")
_WWW = re.compile(r"\bwww\.(?=\S)", re.IGNORECASE)


def sanitize(text: str, limit: int) -> str:
    """One line of at most `limit` characters (>= 1); what is cut ends in an ellipsis. Characters that no screen shows
    (control, format and with it bidi overrides, surrogates, private use) are dropped, and URLs no longer link."""
    sample = text[: 4 * limit + _SLACK]
    shown = " ".join("".join(_shown(c) for c in sample).split())
    shown = _WWW.sub(lambda m: f"{m[0][:-1]}[.]", _SCHEME.sub("[:]", shown))
    return cut(shown, limit, more=len(sample) < len(text))


def cut(text: str, limit: int, more: bool = False) -> str:
    """`more`: something was left out already."""
    if len(text) <= limit and not more:
        return text
    return text[: limit - 1].rstrip() + ELLIPSIS


def some_of(texts: Sequence[str], most: int) -> tuple[str, ...]:
    """The first `most` of them, then how many more there are."""
    rest = len(texts) - most
    return (*texts[:most], f"and {rest} more") if rest > 0 else tuple(texts)


def _shown(character: str) -> str:
    if " " <= character <= "~":
        return character
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in _DROPPED else character


_NAMED = (
    r"(?:pass(?:word|wd|phrase)|secret(?:[_-]?(?:access[_-]?)?key)?"
    r"|[a-z_-]{0,40}token|api[_-]?key|credentials?|signature)"
)
_LEFT_OUT = tuple(
    (re.compile(pattern, re.IGNORECASE), rf"\g<1>{ELLIPSIS}")
    for pattern in (
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*",
        r"(\bauthorization\b[\"']?\s*[=:]\s*).*",
        r"(\b(?:bearer|basic)\s+)[A-Za-z0-9+/=._~-]{8,}",
        r"(://)[^\s/?#@\"']{1,500}@",
        r"(://[^\s?\"']{0,1000}\?)[^\s\"']+",
        *SECRET_PATTERNS,
        rf"((?<![a-z0-9]){_NAMED}[\"']?(?:\s*=\s*|\s*:\s+|\s*:(?=[\"']))[\"']?)[^\s\"',;}}]+",
        r"()\bgh[a-z]_[A-Za-z0-9]{20,}",
        r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"()[A-Za-z0-9+/=_%-]{200,}",
    )
)


def without_secrets(text: str) -> str:
    """A secret is left out by its form: AWS repeats signed requests in its errors, and a name may hold a token. This is
    a second line: code that holds a secret must not print it."""
    for pattern, kept in _LEFT_OUT:
        text = pattern.sub(kept, text)
    return text
