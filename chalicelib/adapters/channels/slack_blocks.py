"""An alert as a Slack message. Data is only ever in `plain_text` and in the texts of `rich_text`, which Slack reads as
no markup; `mrkdwn` is ours. A command stands in a block of code of its own: a narrow screen breaks no line of it, and
it is copied whole or not offered as one.

Limits (Slack's Block Kit reference): 50 blocks, header 150 characters, section 3,000, 10 fields of 2,000, a button's
text 75 and URL 3,000, 25 buttons; all blocks together are refused from about 13,200 characters on. Characters are
counted in UTF-16 after escaping, the whole as the JSON that travels: the widest way in which Slack might count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.text import ELLIPSIS, sanitize

MAX_HEADER = 150
MAX_SECTION = 3_000
MAX_FIELD = 2_000
MAX_URL = 3_000
MAX_PAYLOAD = 12_900
WIDTHS = (600, 300, 150, 80, 40, 20)
"""Characters a line may have: the widest at which the message fits."""
MAX_LINES = 12
MAX_BUTTON = 75
MAX_BUTTONS = 25
MAX_COMMAND = 500

Block = dict[str, Any]
_COMMAND = re.compile(rf"(.*: |)((?:lazaretto|aws) [ -~]{{1,{MAX_COMMAND}}})")
"""What it is for, and the command: to the end of the line, in plain ASCII."""
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
    text = sanitize(alert.title, MAX_HEADER).translate(_LOOKALIKES)
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
    yield from _to_do(alert.what_to_do, width)
    links = (("Findings in the AWS console", alert.console_url), ("In Lazaretto", alert.api_url), *alert.links)
    buttons = [_button(label, url) for label, url in links if url and len(url) <= MAX_URL]
    if buttons:
        yield {"type": "actions", "elements": buttons[:MAX_BUTTONS]}


def _part(heading: str | None, lines: Sequence[str], width: int, limit: int = MAX_LINES) -> Iterator[Block]:
    if not lines:
        return
    if heading:
        yield {"type": "section", "text": {"type": "mrkdwn", "text": _HEADINGS[heading]}}
    shown = [f"• {_fitted(sanitize(line, width), width)}" for line in lines[:limit]]
    if len(lines) > limit:
        shown.append(f"and {len(lines) - limit} more")
    for text in _packed(shown):
        yield {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}


def _to_do(lines: Sequence[str], width: int) -> Iterator[Block]:
    parted = [_parted(line) for line in lines[:MAX_LINES]]
    if not any(command for _, command in parted):
        yield from _part("do", lines, width)
        return
    yield {"type": "section", "text": {"type": "mrkdwn", "text": _HEADINGS["do"]}}
    elements: list[Block] = []
    for words, command in parted:
        if shown := sanitize(words, width):
            elements.append(_rich("rich_text_section", f"• {shown}\n"))
        if command:
            elements.append(_rich("rich_text_preformatted", command))
    if len(lines) > MAX_LINES:
        elements.append(_rich("rich_text_section", f"and {len(lines) - MAX_LINES} more"))
    yield {"type": "rich_text", "elements": elements}


def _parted(line: str) -> tuple[str, str]:
    """Words and a command; "" where there is none that may be pasted as it stands."""
    found = _COMMAND.fullmatch(line)
    if found is None or sanitize(found[2], MAX_COMMAND + 99) != found[2]:
        return line, ""
    return found[1], found[2]


def _rich(kind: str, text: str) -> Block:
    return {"type": kind, "elements": [{"type": "text", "text": text}]}


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
    return {"type": "plain_text", "text": _fitted(sanitize(text, width), limit) or "-", "emoji": False}


def _button(label: str, url: str) -> dict[str, Any]:
    return {"type": "button", "text": _plain(label, MAX_BUTTON, MAX_BUTTON), "url": url}


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
