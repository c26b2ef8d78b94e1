"""Record what happened to a repository rather than to one image: made, deleted, other rules, other settings; and what a
listing of the registry shows that no event has told.

Sweeps and posture act on what is recorded here. A deleted repository takes its images with it at once. Whether what it
denied still stands is checked where the registry's policies may be read.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from chalicelib.domain.alerts.alert import AlertKey, mark_of
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.event import Action, ApiCall, ImageAction, PulledThrough, Replicated, ScanResourceChanged
from chalicelib.domain.events.message import CheckDeny, Delivery
from chalicelib.domain.events.sweep_message import RECORD_SIGNATURE, SETTLE_TAG, Sweep, SweepRepository, SyntheticEvent
from chalicelib.domain.pulls.alert import compose_cache_alert
from chalicelib.services.assessment.record_push import record_push, resolve_tag, with_signature
from chalicelib.services.assessment.write_header import update_header
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context


def record_found(found: SyntheticEvent, delivery: Delivery, context: Context) -> None:
    """Raises TransientError: put it back with a delay."""
    if found.action == SETTLE_TAG:
        if found.tag is not None:
            resolve_tag(found.ref, found.tag, delivery, context)
        return
    if found.action == RECORD_SIGNATURE:
        if found.signed is not None:
            update_header(found.ref, partial(with_signature, listed=found.signed), delivery, context)
        return
    event = ImageAction(found.ref, found.action, "SUCCESS", found.at, "found", found.tag)
    record_push(event, delivery, context, found.manifest, found.signed)


POLICY_CALLS = frozenset({"CreateRepository", "DeleteRepository", "SetRepositoryPolicy", "DeleteRepositoryPolicy"})
"""After them the repository's policy may be another one, ours or not."""

Setting = ApiCall | ScanResourceChanged | PulledThrough | Replicated


def record_setting(event: Setting, delivery: Delivery, context: Context) -> None:
    """Keeps what the event says with its repository. Raises TransientError: put it back with a delay."""
    match event:
        case ScanResourceChanged():
            for rule in event.rules:
                facts: dict[str, object] = {"scan_frequency_at": event.time}
                if rule.frequency is not None:
                    facts["scan_frequency"] = rule.frequency
                context.table.store_repository(rule.repository, facts)
                # What covers it now is asked, and which of its images that leaves without a scan.
                context.outbox.send("sweeps", SweepRepository(Sweep.RECONCILE, rule.repository, event.time))
        case PulledThrough():
            _pulled_through(event, context)
        case Replicated():
            # The image named is not there: the record is all there is of it until the replication check looks.
            source, region = event.source_registry, event.source_region
            context.table.record_action(
                ActionRecord(
                    ref=event.ref,
                    effect=f"REPLICATION#{source}/{region}",
                    wanted_at=event.time,
                    kind=ActionKind.REPLICATION_FAILED,
                    actor="system",
                    reason=f"replication from {source} in {region} ended {event.result}",
                    at=context.clock.now(),
                )
            )
        case ApiCall():
            _called(event, delivery, context)


def _pulled_through(event: PulledThrough, context: Context) -> None:
    """People are told of a failure once a day for each repository and code: what is cached grows old unseen. The last
    failure stays known beside the last success, which may be of another tag. A success that names no image leaves it
    open which one came."""
    home = event.repository
    if event.succeeded:
        context.table.store_repository(home, {"pull_through_synced_at": event.time})
        if event.ref is None:
            context.outbox.send("sweeps", SweepRepository(Sweep.RECONCILE, home, event.time))
        return
    known = context.queries.repository(home)
    last = known.facts.get("pull_through_failed_at") if known is not None else None
    if not isinstance(last, datetime) or event.time >= last:
        said = [text for text in (event.tag, event.failure_code or event.status, event.failure_reason) if text]
        context.table.store_repository(
            home, {"pull_through_failure": ": ".join(said), "pull_through_failed_at": event.time}
        )
    cached = event.tag is not None and context.table.read_tag(home, event.tag) is not None
    day = event.time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    effect = f"ALERT#PULL_THROUGH#{mark_of((event.failure_code or event.status,))}"
    alert = compose_cache_alert(event, context.clock.now(), cached=cached)
    announce(alert, AlertKey(effect, day, subject=f"repository/{home.path}"), context)


def _called(event: ApiCall, delivery: Delivery, context: Context) -> None:
    """A call that failed changed nothing; a registry-wide one has no repository to be kept with, and what happened to
    images is told by ECR's own events.

    Times only move later, so in whatever order the calls are heard: deleted is what was deleted after it was created.
    """
    if event.error_code is not None or event.repository is None or event.images:
        return
    facts: dict[str, object] = {"changed_by": event.actor, "changed_call": event.name, "changed_at": event.time}
    if event.name == "CreateRepository":
        facts |= {"created_at": event.time}
    if event.name == "DeleteRepository":
        facts |= {"deleted_at": event.time}
    context.table.store_repository(event.repository, facts)
    if event.name in POLICY_CALLS:
        for digest in context.table.read_denied(event.repository).digests:
            context.outbox.send("actions", CheckDeny(event.repository.image(digest)))
    if event.name == "DeleteRepository":
        for header in context.table.headers_of(event.repository):
            gone = ImageAction(header.ref, Action.DELETE, "SUCCESS", event.time, event.event_id)
            record_push(gone, delivery, context)
