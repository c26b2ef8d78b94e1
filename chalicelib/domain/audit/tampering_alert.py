"""What people read when an audit chain is no longer what was copied of it. Nothing is looked at or sent here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.audit.chain import Chain, Head
from chalicelib.domain.images.sanitize import sanitize

TAMPERING = "tampering"
NAMED = 10


def compose_audit_alert(
    broken: Mapping[Chain, tuple[Head, Head | None]], day: date, now: datetime, api_url: str | None = None
) -> Alert:
    """`broken`: of each chain the head that was copied on `day`, and the one it has now (None: none)."""
    lines = [_line(chain, *heads) for chain, heads in list(broken.items())[:NAMED]]
    rest = len(broken) - len(lines)
    which = "one chain is" if len(broken) == 1 else f"{len(broken)} chains are"
    return Alert(
        event=TAMPERING,
        title=f"Audit log changed: {which} not what was copied",
        at=now,
        notes=(*lines, *([f"and {rest} more"] if rest else [])),
        what_to_do=(
            f"See which record is broken first: lazaretto audit verify --since {day}",
            "Find who may write to the table besides Lazaretto's functions, and restore it to a point in time.",
        ),
        api_url=api_url,
    )


def _line(chain: Chain, copied: Head, head: Head | None) -> str:
    had = f"had {copied.count} record{'s' if copied.count != 1 else ''} when its head was copied"
    if head is None:
        return f"{sanitize(str(chain), 300)} {had}, and has no head now."
    if head.count < copied.count:
        return f"{sanitize(str(chain), 300)} {had}, and has {head.count} now."
    return f"{sanitize(str(chain), 300)} {had}; the last of them is another one now."
