"""Tell people why an image could not be pulled: once an hour for each service and image, however many tasks fail.

The queue `scans` brings the task that failed to start, and a message in the queue `actions` finds out why. A first
receive that finds the audit record of the service and the hour is done; one that comes again announces again, under the
same key, as its worker may have died before.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.alerts.alert import Alert, AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.event import TaskChanged
from chalicelib.domain.events.failed_pull import failed_pulls
from chalicelib.domain.events.message import PullFailed
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.pulls.alert import compose_pull_failure_alert
from chalicelib.domain.pulls.evidence import Evidence
from chalicelib.domain.pulls.explanation import Explanation
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.answers import header_of
from chalicelib.services.ports.context import Context
from chalicelib.services.pulls.explain_pull_failure import explain_pull_failure, gather_evidence


def handle_pull_failure(event: TaskChanged, context: Context) -> None:
    """Other tasks, and images that do not lie in ECR, are none of ours."""
    for failed in failed_pulls(event):
        context.outbox.send("actions", PullFailed(failed))


MAX_REASON = 1_000


def notify_pull_failure(message: PullFailed, context: Context, *, fresh: bool = True) -> None:
    """`fresh`: the first receive of a message that was not requeued; one that finds the record is done. Raises
    TransientError, ConflictError: requeue `message`."""
    evidence = gather_evidence(message.failed, context)
    record = _record(evidence, context)
    if fresh and context.table.action_at(record.chain, record.effect, record.wanted_at) is not None:
        return
    explanation = explain_pull_failure(evidence, context)
    record = msgspec.structs.replace(record, reason=sanitize(explanation.text, MAX_REASON))
    if not context.table.record_action(record) and fresh:
        return
    key = AlertKey(f"ALERT#{record.effect}", record.wanted_at, record.ref, record.subject, record.policy_version)
    announce(_composed(evidence, explanation, context), key, context)


def _record(evidence: Evidence, context: Context) -> ActionRecord:
    """In the image's chain; of an image that is not known here, in its repository's, under what it was pulled by."""
    failed, header = evidence.failed, evidence.header
    parts = [
        ActionKind.PULL_FAILED,
        failed.service,
        *([] if header is not None else [failed.pulled.digest or failed.pulled.tag or ""]),
    ]
    return ActionRecord(
        ref=header.ref if header is not None else None,
        effect="#".join([*parts, f"{failed.hour:%Y-%m-%dT%H}"]),
        wanted_at=failed.hour,
        kind=ActionKind.PULL_FAILED,
        actor="system",
        reason="",
        at=context.clock.now(),
        before=header.storage if header is not None else None,
        policy_version=header.verdict.policy_version if header is not None and header.verdict is not None else 0,
        subject="" if header is not None else f"repository/{failed.pulled.home.path}",
    )


def _composed(evidence: Evidence, explanation: Explanation, context: Context) -> Alert:
    """The look may have found another image than the one that was known: a tag that has moved."""
    header = evidence.header
    if explanation.ref is not None and (header is None or header.ref != explanation.ref):
        header = header_of(explanation.ref, context.table)
    return compose_pull_failure_alert(evidence.failed, explanation, header, context.clock.now())
