"""What travels in the queue `sweeps` to have one image's copies looked at."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.replication.replication import Destination


class ReplicationCheck(msgspec.Struct, frozen=True, tag="replication-check"):
    """Look at the copies of the image `ref` (the source's) at or after `due_at`: image or tags changed at `changed_at`.
    `destination`: the one that ECR has said something of; None: all of them.

    A queue keeps no message back for longer than a quarter of an hour: one that comes too early is sent again.
    """

    ref: ImageRef
    due_at: datetime
    changed_at: datetime
    attempt: int = 0
    destination: Destination | None = None
