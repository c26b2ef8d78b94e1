"""An alert as a Slack message. Data is only ever in `plain_text`, which Slack reads as no markup; `mrkdwn` is ours.

Limits (Slack's Block Kit reference): 50 blocks, header 150 characters, section 3,000, 10 fields of 2,000, a button's
URL 3,000; all blocks together are refused from about 13,200 characters on. Characters are counted in UTF-16 after
escaping, the whole as the JSON that travels: the widest way in which Slack might count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from chalicelib.domain.alert import Alert
from chalicelib.domain.inert import ELLIPSIS, inert

MAX_HEADER = 150
MAX_SECTION = 3_000
MAX_FIELD = 2_000
MAX_URL = 3_000
MAX_PAYLOAD = 12_900
WIDTHS = (600, 300, 150, 80, 40, 20)
"""Characters a line may have: the widest at which the message fits."""
MAX_LINES = 12

Block = dict[str, Any]
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LOOKALIKES = str.maketrans({"*": "∗", "_": "ˍ", "~": "∼", "`": "ˋ", "@": "＠", "#": "＃", "!": "ǃ"})
_HEADINGS = {
    "registry": "*In the registry*",
    "why": "*Why*",
    "findings": "*Worst findings*",
    "radius": "*What hangs on it*",
    "do": "*What to do*",
}


def payload(alert: Alert) -> dict[str, Any]:
    """The body of a webhook's or of `chat.postMessage`'s call (channel apart), within every limit."""
    for width in WIDTHS:
        body = {**bare_payload(alert), "blocks": list(_blocks(alert, width))}
        if len(json.dumps(body)) <= MAX_PAYLOAD:
            return body
    return bare_payload(alert)


def bare_payload(alert: Alert) -> dict[str, Any]:
    """The text alone, as notifications show it; what looks like markup is replaced by what only looks like it."""
    text = inert(alert.title, MAX_HEADER).translate(_LOOKALIKES)
    return {"text": _fitted(text, 500), "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}


def _blocks(alert: Alert, width: int) -> Iterator[Block]:
    yield {"type": "header", "text": _plain(alert.title, MAX_HEADER, MAX_HEADER)}
    fields = [_plain(f"{label}: {text}", width, MAX_FIELD) for label, text in alert.facts]
    yield {"type": "section", "fields": fields[:10]}
    more = f"and {alert.more_findings} more findings matched" if alert.more_findings else None
    yield from _part(None, alert.notes, width, limit=2 * MAX_LINES)
    yield from _part("registry", alert.registry, width)
    yield from _part("why", [r.line for r in alert.reasons], width)
    yield from _part("findings", [*(f.line for f in alert.findings), *([more] if more else [])], width)
    yield from _part("radius", alert.radius, width)
    yield from _part("do", alert.what_to_do, width)
    links = (("Findings in the AWS console", alert.console_url), ("In Lazaretto", alert.api_url))
    buttons = [_button(label, url) for label, url in links if url and len(url) <= MAX_URL]
    if buttons:
        yield {"type": "actions", "elements": buttons}


def _part(heading: str | None, lines: Sequence[str], width: int, limit: int = MAX_LINES) -> Iterator[Block]:
    if not lines:
        return
    if heading:
        yield {"type": "section", "text": {"type": "mrkdwn", "text": _HEADINGS[heading]}}
    shown = [f"• {_fitted(inert(line, width), width)}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"and {len(lines) - limit} more")
    for text in _packed(shown):
        yield {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}


def _packed(lines: Sequence[str]) -> Iterator[str]:
    """Lines joined into as few texts as fit a section."""
    text = ""
    for line in lines:
        if text and _length(text) + 1 + _length(line) > MAX_SECTION:
            yield text
            text = ""
        text = f"{text}\n{line}" if text else line
    yield text


def _plain(text: str, width: int, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": _fitted(inert(text, width), limit) or "-", "emoji": False}


def _button(label: str, url: str) -> dict[str, Any]:
    return {"type": "button", "text": {"type": "plain_text", "text": label, "emoji": False}, "url": url}


def _fitted(text: str, limit: int) -> str:
    """Escaped, and cut so that no escape is cut in two."""
    escaped = [_ESCAPES.get(c, c) for c in text]
    if sum(map(_length, escaped)) <= limit:
        return "".join(escaped)
    kept, room = [], limit - len(ELLIPSIS)
    for piece in escaped:
        room -= _length(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + ELLIPSIS


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
