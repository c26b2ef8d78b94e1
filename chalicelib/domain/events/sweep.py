"""The sweeps: what no event tells is looked for on a schedule, repository by repository. Pure."""

from __future__ import annotations

from enum import StrEnum


class Sweep(StrEnum):
    """Each leaves its last result on the repository's item, `<sweep>`, with the time of it, `<sweep>_at`."""

    RECONCILE = "reconcile"
    RETENTION = "retention"
    REPLICATION = "replication"
    POSTURE = "posture"
    PUBLIC = "public"

    def is_run_at(self, hour: int) -> bool:
        """Whether it is begun in this hour of the day (UTC). What costs a registry's listing takes turns."""
        every, first = _HOURS[self]
        return hour % every == first


_HOURS = {
    Sweep.RECONCILE: (6, 0),
    Sweep.PUBLIC: (6, 1),
    Sweep.REPLICATION: (1, 0),
    Sweep.RETENTION: (24, 3),
    Sweep.POSTURE: (24, 4),
}
