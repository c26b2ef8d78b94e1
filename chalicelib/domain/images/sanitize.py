"""Texts of others without what may be a secret in them, for logs, alerts, answers and the audit log.

What looks like one is left out by its form, wherever it came from: AWS repeats signed requests in its errors, botocore
URLs and parameters, and anybody may have put a token into a name. Whoever holds a secret must not rely on this.

Text of others made harmless for people's screens: what a tag, a package or an advisory says is data, never markup.

Characters that no screen shows (control, format and with it bidi overrides, surrogates, private use) are dropped, line
breaks become spaces, URLs no longer link. Escaping for one medium is that medium's adapter's business.
"""

from __future__ import annotations

import re
import unicodedata

from chalicelib.domain.channels.channel import SECRET_PATTERNS

ELLIPSIS = "…"
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_SLACK = 64
_SCHEME = re.compile(r":(?=[/\\]{2})")
_WWW = re.compile(r"\bwww\.(?=\S)", re.IGNORECASE)


def sanitize(text: str, limit: int) -> str:
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
    """Ordinary text stays as it is."""
    for pattern, kept in _LEFT_OUT:
        text = pattern.sub(kept, text)
    return text
