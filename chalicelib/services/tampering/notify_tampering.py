"""Tell people of a call by others that CloudTrail recorded and that touches what Lazaretto relies on.

Told in every mode, `observe` included: a Deny of ours taken out, a setting changed, a quarantined image restored,
deleted, pushed again or robbed of its tag, its layers pushed as another digest, and what our own write of a policy may
have overwritten. Nothing is done about it here. Each is told once, however often the call is heard, and what one
principal does to the same images again and again once an hour. What a push costs does not grow with the repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from chalicelib.domain.alerts.alert import Alert, AlertKey, mark_of
from chalicelib.domain.alerts.hourly_limit import hour_of
from chalicelib.domain.enforcement.repository_policy import stands, unknown_statements
from chalicelib.domain.events.event import ApiCall
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Repository
from chalicelib.domain.tampering.tampering import (
    compose_call_alert,
    evidence_words,
    is_evidence,
    is_own,
    layers_mark,
    overwritten_words,
    same_layers_words,
    setting_words,
)
from chalicelib.errors import UpstreamError
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import DeniedDigests

POLICY_CALLS = ("SetRepositoryPolicy", "DeleteRepositoryPolicy")


def notify_tampering(call: ApiCall, context: Context) -> None:
    """Before what the call did is recorded: a deletion ends a quarantine. Raises TransientError: put it back."""
    if call.error_code is not None or is_own(call, context.own_roles):
        return
    subject = f"repository/{call.repository.path}" if call.repository else f"registry/{call.account}/{call.region}"
    for alert in _alerts(call, context):
        at, once = call.time, [call.event_id, alert.title]
        if call.name in _DONE:  # whoever may push would have an alert sent by each push
            at, once = hour_of(call.time), [call.role or call.actor or "", alert.title, *alert.notes[1:]]
        announce(alert, AlertKey(f"ALERT#TAMPERING#{mark_of(once)}", at, subject=subject), context)


def _alerts(call: ApiCall, context: Context) -> Iterator[Alert]:
    repository = call.repository
    if repository is not None and call.name in POLICY_CALLS:
        yield from _about_policy(call, repository, context.table.read_denied(repository), context)
        return
    if repository is not None:
        touched = [header.ref for header in _evidence(call, repository, context)]
        pushed = {image.digest for image in call.images} if call.name == "PutImage" else set()
        if again := [ref for ref in touched if ref.digest in pushed]:
            yield compose_call_alert(call, *evidence_words(again, PUSHED_AGAIN))
        if others := [ref for ref in touched if ref.digest not in pushed]:
            yield compose_call_alert(call, *evidence_words(others, _DONE[call.name]))
        yield from _same_layers(call, repository, context)
        if touched:
            return
    if (changed := setting_words(call)) is not None:
        yield compose_call_alert(call, *changed)


PUSHED_AGAIN = "pushed again, by which it leaves the archive"
_DONE = {
    "BatchDeleteImage": "deleted, or lost a tag",
    "DeleteRepository": "deleted with the repository",
    "PutImage": "robbed of a tag, which names another image now",
    "UpdateImageStorageClass": "restored",
}


def _about_policy(call: ApiCall, repository: Repository, denied: DeniedDigests, context: Context) -> Iterator[Alert]:
    overwritten = _overwritten(call, denied, context)
    if overwritten:
        yield compose_call_alert(call, *overwritten_words(overwritten, repository))
    if (denied.digests or denied.is_lost(call.time)) and _lacks_deny(call, context):
        digests = ", ".join(digest[:19] for digest in denied.digests[:10]) or "none at the moment"
        yield compose_call_alert(call, "Deny of pulls taken out or changed", (f"It was there for: {digests}",))
    elif not overwritten and (changed := setting_words(call)) is not None:
        yield compose_call_alert(call, *changed)


def _lacks_deny(call: ApiCall, context: Context) -> bool:
    if call.name == "DeleteRepositoryPolicy":
        return True
    try:
        return call.policy is not None and not stands(call.policy, context.own_roles)
    except UpstreamError:
        return True


def _overwritten(call: ApiCall, denied: DeniedDigests, context: Context) -> tuple[str, ...]:
    """The statements that were put between our last reading and writing of the policy. CloudTrail has whole seconds."""
    wrote = denied.wrote
    if call.policy is None or wrote is None:
        return ()
    if not wrote.began_at - timedelta(seconds=1) < call.time <= wrote.ended_at:
        return ()
    try:
        return unknown_statements(call.policy, wrote.known, context.own_roles)
    except UpstreamError:
        return ()


def _evidence(call: ApiCall, repository: Repository, context: Context) -> list[Header]:
    if call.name == "DeleteRepository":
        return [header for header in context.table.headers_of(repository) if is_evidence(header)]
    if call.name not in _DONE or call.changed.get("targetStorageClass") == "ARCHIVE":
        return []
    refs = [repository.image(digest) for digest in _named(call, repository, context)]
    stored = context.table.read_headers(refs)
    return [stored[ref].header for ref in refs if ref in stored and is_evidence(stored[ref].header)]


def _named(call: ApiCall, repository: Repository, context: Context) -> list[str]:
    """The digests it was about: by tag those that have it now, or had it before, as the move may be recorded
    already."""
    digests = [image.digest for image in call.images if image.digest is not None]
    found = list(digests)
    for tag in dict.fromkeys(image.tag for image in call.images if image.tag is not None):
        move = context.table.last_tag_move(repository, tag)
        had = [digest for digest in (move.digest, move.former) if digest is not None] if move else []
        found += [digest for digest in had if digest not in digests]
    return list(dict.fromkeys(found))


def _same_layers(call: ApiCall, repository: Repository, context: Context) -> Iterator[Alert]:
    pushed = next((image.digest for image in call.images if image.digest is not None), None)
    mark = layers_mark(call.layers)
    if call.name != "PutImage" or pushed is None or mark is None:
        return
    known = context.table.read_layers(repository, mark)
    if known is None or known == pushed:
        return
    held = repository.image(known)
    stored = context.table.read_headers([held]).get(held)
    if stored is not None and is_evidence(stored.header):
        yield compose_call_alert(call, *same_layers_words(repository.image(pushed), held))
