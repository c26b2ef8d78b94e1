"""What people read of a registry that cannot be listed. Nothing is looked at or sent here."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.inert import inert
from chalicelib.domain.images.registry_place import RegistryPlace

UNREACHABLE = "unreachable"
DOUBTED_AFTER = timedelta(hours=12)
"""Two reconciles. Images of a repository that was not compared for longer are looked at one by one, and what cannot be
looked at either has no usable scan."""
_SHOWN = 300


def compose_unreachable_alert(
    place: RegistryPlace,
    why: str,
    repositories: int,
    compared_at: datetime | None,
    now: datetime,
    api_url: str | None = None,
) -> Alert:
    """`repositories`: how many are known of it; `compared_at`: when one of them was last compared, None: never."""
    last = f"last compared {compared_at:%Y-%m-%d %H:%M} UTC" if compared_at is not None else "never compared"
    hours = DOUBTED_AFTER // timedelta(hours=1)
    return Alert(
        event=UNREACHABLE,
        title=f"The registry {place} cannot be listed",
        at=now,
        notes=(
            inert(why, _SHOWN),
            f"{repositories} of its repositories {'is' if repositories == 1 else 'are'} known, {last}",
            f"Images that cannot be looked at either count as stale {hours} hours after that",
        ),
        what_to_do=(
            "See whether the role in that account is there, trusts Lazaretto's roles and may list (docs/operations.md, "
            "Several Regions and accounts)",
            f"Then: lazaretto reconcile --registry {place}",
        ),
        api_url=api_url,
    )
