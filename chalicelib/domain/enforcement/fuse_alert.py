"""What people read when the fuse has blown. Nothing is sent here."""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.enforcement.fuse import Fuse

FUSE = "fuse"


def compose_fuse_alert(fuse: Fuse, limit: int, now: datetime, api_url: str | None = None) -> Alert:
    until = fuse.until(now)
    return Alert(
        event=FUSE,
        title=f"Fuse blown: more than {limit} images in an hour",
        at=now,
        notes=(
            f"{len(fuse.taken)} images were blocked or quarantined within an hour, and more were to follow.",
            f"Nothing more is blocked or quarantined before {until:%Y-%m-%d %H:%M:%S} UTC. Verdicts, gates, alerts and "
            "releases go on; what waits is done by itself then.",
        ),
        what_to_do=(
            "See whether the verdicts are right: lazaretto findings --min-severity HIGH",
            "If they are: lazaretto fuse reset --reason 'checked'",
            "If they are not: correct the policy first (lazaretto policy what-if, lazaretto policy apply).",
        ),
        api_url=api_url,
    )
