"""Tell people why an image could not be pulled: once an hour for each service and image, however many tasks fail.

The audit record is put before sending and is the claim: its key holds the service and the hour of the failure. Whoever
finds it is done, but for a message that comes again: its worker may have died with the claim, so that it may take over,
by one more record for each time. So people are told at least once, and once unless a worker died, or the table did not
say whether it took the claim. A channel that fails is tried again by a message that holds the claim, without the others
being told twice.

Hear of a task that failed to start: each image of ECR that it could not pull is to be explained to people.

Only the queue `actions` sends alerts, so that is where it goes: what is behind it is found out there, once an hour for
each service and image, however many of its tasks fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.event import TaskChanged
from chalicelib.domain.events.failed_pull import failed_pulls
from chalicelib.domain.events.message import PullFailed
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.policy.section import Route
from chalicelib.domain.pulls.alert import compose_pull_failure_alert
from chalicelib.domain.pulls.evidence import Evidence
from chalicelib.domain.pulls.explanation import Explanation
from chalicelib.errors import ConflictError, LazarettoError, TransientError
from chalicelib.services.alerts.send_alert import send_alert
from chalicelib.services.assessment.requeue import requeue
from chalicelib.services.ports.context import Channel, Context
from chalicelib.services.pulls.explain_pull_failure import explain_pull_failure, gather_evidence, known_header


def handle_pull_failure(event: TaskChanged, context: Context) -> None:
    """Other tasks, and images that do not lie in ECR, are none of ours."""
    for failed in failed_pulls(event):
        context.outbox.send("actions", PullFailed(failed))


MOST_CLAIMS = 5
MAX_REASON = 1_000
BUSY_SECONDS = 5.0


def notify_pull_failure(
    message: PullFailed,
    context: Context,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
    *,
    receives: int = 1,
) -> None:
    """`receives`: how often the queue has delivered this copy. Raises TransientError: send `message` again later."""
    evidence, tries = gather_evidence(message.failed, context), receives + message.doubts
    claim = _claim_of(evidence, context)
    if not message.claimed and tries == 1 and _is_claimed(claim, context):
        return
    explanation = explain_pull_failure(evidence, context)
    alert, routes = _composed(evidence, explanation, context, api_url), context.rules.current().policy.notify
    claim = msgspec.structs.replace(claim, reason=sanitize(explanation.text, MAX_REASON))
    try:
        if not message.claimed and not _claimed(claim, tries, context):
            return
    except ConflictError as error:
        raise TransientError(f"the audit log of {claim.chain} is being written by others", BUSY_SECONDS) from error
    except TransientError as error:
        _send_again(msgspec.structs.replace(message, doubts=message.doubts + 1), error, context)
        return
    told, failures = _tell(alert, routes, channels, message.told)
    if failures:
        why = next((f for f in failures if isinstance(f, TransientError)), failures[0])
        _send_again(msgspec.structs.replace(message, told=told, claimed=True), why, context)


def _claim_of(evidence: Evidence, context: Context) -> ActionRecord:
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


def _is_claimed(claim: ActionRecord, context: Context) -> bool:
    return context.table.action_at(claim.chain, claim.effect, claim.wanted_at) is not None


def _claimed(claim: ActionRecord, tries: int, context: Context) -> bool:
    """Whether it is ours to tell: the first record that was not there, of as many as there may have been claims."""
    effects = [claim.effect, *(f"{claim.effect}#{n}" for n in range(2, min(tries, MOST_CLAIMS) + 1))]
    return any(context.table.record_action(msgspec.structs.replace(claim, effect=effect)) for effect in effects)


def _composed(evidence: Evidence, explanation: Explanation, context: Context, api_url: str | None) -> Alert:
    """The look may have found another image than the one that was known: a tag that has moved."""
    header = evidence.header
    if explanation.ref is not None and (header is None or header.ref != explanation.ref):
        header = known_header(explanation.ref, context)
    return compose_pull_failure_alert(evidence.failed, explanation, header, context.clock.now(), api_url)


def _tell(
    alert: Alert, routes: Sequence[Route], channels: Mapping[str, Channel], before: Sequence[str]
) -> tuple[tuple[str, ...], list[LazarettoError]]:
    """Each channel by itself: those told by now, and what those that were not have raised."""
    told, failures = list(before), list[LazarettoError]()
    for name in dict.fromkeys(route.channel for route in routes):
        if name in told:
            continue
        try:
            told += send_alert(alert, [route for route in routes if route.channel == name], channels)
        except LazarettoError as error:
            failures.append(error)
    return tuple(told), failures


def _send_again(message: PullFailed, why: LazarettoError, context: Context) -> None:
    """Raises `why` when it was too often by now."""
    again = msgspec.structs.replace(message, attempt=message.attempt + 1)
    if not requeue("actions", again, why if isinstance(why, TransientError) else TransientError(str(why)), context):
        raise why
