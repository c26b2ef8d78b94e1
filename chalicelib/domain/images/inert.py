"""Text of others made harmless for people's screens: what a tag, a package or an advisory says is data, never markup.

Characters that no screen shows (control, format and with it bidi overrides, surrogates, private use) are dropped, line
breaks become spaces, URLs no longer link. Escaping for one medium is that medium's adapter's business.
"""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "…"
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SLACK = 64
_SCHEME = re.compile(r":(?=[/\\]{2})")
_WWW = re.compile(r"\bwww\.(?=\S)", re.IGNORECASE)


def inert(text: str, limit: int) -> str:
    """One line of at most `limit` characters (>= 1). What is cut ends in an ellipsis; inert text stays as it is."""
    sample = text[: 4 * limit + _SLACK]
    shown = " ".join("".join(_shown(c) for c in sample).split())
    shown = _WWW.sub(lambda m: f"{m[0][:-1]}[.]", _SCHEME.sub("[:]", shown))
    return cut(shown, limit, more=len(sample) < len(text))


def cut(text: str, limit: int, more: bool = False) -> str:
    """`more`: something was left out already."""
    if len(text) <= limit and not more:
        return text
    return text[: limit - 1].rstrip() + ELLIPSIS


def _shown(character: str) -> str:
    if " " <= character <= "~":
        return character
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in _DROPPED else character
