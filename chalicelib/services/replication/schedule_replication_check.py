"""Schedule the check of an image's copies: some time after a push, at once when ECR reports its end."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.events.event import Action, ImageAction, ReferrerAction, Replicated
from chalicelib.domain.events.sweep_message import ReplicationCheck
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.replication.rules import Destination
from chalicelib.errors import UpstreamError
from chalicelib.services.ports.context import Context

LONGEST_WAIT = timedelta(hours=2)
"""A queue keeps a message for a quarter of an hour; for the next one the function sends it to itself, which Lambda ends
after 16 times. What has longer is left to the sweep, which comes each hour."""


def schedule_replication_check(event: ImageAction | ReferrerAction | Replicated, context: Context) -> None:
    """Nothing where no rule copies the repository, or a copy has longer than LONGEST_WAIT. Where the rules cannot be
    read now, the check reads them: the push is recorded already, and this must not fail it."""
    now = context.clock.now()
    if isinstance(event, Replicated):
        source = ImageRef(event.source_registry, event.source_region, event.ref.repository, event.ref.digest)
        place = Destination(event.ref.registry, event.ref.region)
        context.outbox.send("sweeps", ReplicationCheck(source, now, event.time, destination=place))
        return
    if not _is_copied(event) or event.ref.home.public or not _has_destinations(event.ref, context):
        return
    within = timedelta(minutes=context.rules.current().policy.replication.within_minutes)
    if within > LONGEST_WAIT:
        return
    due_at = event.time + within
    message = ReplicationCheck(event.ref, due_at, event.time)
    context.outbox.send("sweeps", message, max(0.0, (due_at - now).total_seconds()))


def _is_copied(event: ImageAction | ReferrerAction) -> bool:
    """ECR copies what is pushed or restored from the archive."""
    restored = event.action == Action.UPDATE_STORAGE_CLASS and event.target_storage_class == "STANDARD"
    return event.result == "SUCCESS" and (event.action == Action.PUSH or restored)


def _has_destinations(ref: ImageRef, context: Context) -> bool:
    try:
        return bool(context.replication.configuration(ref.home).destinations_of(ref.home))
    except UpstreamError:
        return True
