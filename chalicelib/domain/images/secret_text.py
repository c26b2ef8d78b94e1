"""Texts of others without what may be a secret in them, for logs, alerts, answers and the audit log.

What looks like one is left out by its form, wherever it came from: AWS repeats signed requests in its errors, botocore
URLs and parameters, and anybody may have put a token into a name. Whoever holds a secret must not rely on this.
"""

from __future__ import annotations

import re

from chalicelib.domain.images.inert import ELLIPSIS

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
        r"(\bhooks\.slack(?:-gov)?\.com/)[^\s\"']+",
        rf"((?<![a-z0-9]){_NAMED}[\"']?(?:\s*=\s*|\s*:\s+|\s*:(?=[\"']))[\"']?)[^\s\"',;}}]+",
        r"()\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]+",
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
