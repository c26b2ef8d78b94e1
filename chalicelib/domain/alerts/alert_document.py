"""An alert as JSON, for programs. `docs/alerts.md` documents the keys: they stay, and new ones may come.

What is not known is null. Texts of others are one line each, without control characters.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.domain.alerts.alert import Alert, AlertReason, TopFinding
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.text import sanitize

VERSION = 1
MAX_BYTES = 256 * 1024
LINE_CHARACTERS = 1_000
MOST_LINES = (100, 30, 10, 3)
"""Of each list: the most with which the document fits."""
_LINK = re.compile(r"https?://[!$-~]{1,3000}")


def alert_id(alert: Alert) -> str:
    """The same when an alert is sent again. The alert of a verdict is composed anew then: it goes by its number."""
    about = str(alert.ref) if alert.ref else alert.repository
    when = alert.number or alert.at.isoformat()
    identity = json.dumps([alert.event, about, when, alert.act, alert.title])
    return f"msg_{hashlib.sha256(identity.encode()).hexdigest()[:32]}"


def encode_alert(alert: Alert) -> bytes:
    """At most MAX_BYTES: with fewer lines a list where it would be more."""
    for most in MOST_LINES:
        body = msgspec.json.encode(_document(alert, most))
        if len(body) <= MAX_BYTES:
            break
    return body


def _document(alert: Alert, most: int) -> dict[str, Any]:
    lists = (alert.notes, alert.reasons, alert.registry, alert.radius, alert.what_to_do, alert.links, alert.tags)
    links = [("Findings in the AWS console", alert.console_url), ("In Lazaretto", alert.api_url), *alert.links]
    return {
        "version": VERSION,
        "id": alert_id(alert),
        "event": alert.event,
        "title": _text(alert.title),
        "at": alert.at,
        "image": _image(alert, most),
        "repository": _text(alert.repository),
        "decision": alert.decision,
        "former": alert.former,
        "stands": alert.stands,
        "worse": alert.worse,
        "act": alert.act,
        "verdict": alert.number or None,
        "running": alert.running,
        "severity": alert.worst,
        "kev": alert.kev if alert.ref and alert.decision else None,
        "open_findings": _open_findings(alert),
        "reasons": [_fields(reason) for reason in alert.reasons[:most]],
        "findings": [_fields(finding) for finding in alert.findings[:most]],
        "more_findings": alert.more_findings,
        "notes": _texts(alert.notes, most),
        "registry": _texts(alert.registry, most),
        "radius": _texts(alert.radius, most),
        "what_to_do": _texts(alert.what_to_do, most),
        "links": [{"label": _text(n), "url": url} for n, url in links[:most] if url and _LINK.fullmatch(url)],
        "shortened": any(len(one) > most for one in lists),
    }


def _image(alert: Alert, most: int) -> dict[str, Any] | None:
    if (ref := alert.ref) is None:
        return None
    parts = {part: _text(getattr(ref, part)) for part in ("registry", "region", "repository", "digest")}
    return {**parts, "tags": _texts(alert.tags, most), "kind": alert.kind}


def _open_findings(alert: Alert) -> dict[str, Any] | None:
    """`complete` false: no complete scan yet, the counts are what was announced so far."""
    if alert.kind is Kind.INDEX or not (alert.counts or not alert.listed):
        return None
    return {"complete": alert.listed, "counts": dict(zip(map(str, Severity), alert.counts, strict=False))}


def _fields(one: AlertReason | TopFinding) -> dict[str, Any]:
    said = msgspec.structs.asdict(one)
    return {name: _text(value) if type(value) is str else value for name, value in said.items()}


def _texts(lines: Sequence[str], most: int) -> list[str | None]:
    return [_text(line) for line in lines[:most]]


def _text(text: str | None) -> str | None:
    return None if text is None else sanitize(text, LINE_CHARACTERS)
