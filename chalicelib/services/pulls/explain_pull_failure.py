"""Explain why an image could not be pulled: our quarantine or Deny, or what the registry, IAM or the text says.

What is stored about the image (itself, its tag, its members, our Deny) is gathered first. The registry is asked only
where that does not explain it, and the role that pulls only where access was denied. A look-up that fails is said to
have failed; nothing is concluded from it.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.enforcement.order_records import archived_by
from chalicelib.domain.enforcement.past_quarantine import PastQuarantine, past_quarantine
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.pull_failure import PullFailureCause, manifest_digests, read_refusal
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.domain.pulls.evidence import Evidence, EvidenceLookup, LostTag
from chalicelib.domain.pulls.explanation import MOST_NAMED, Explanation, explain
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.answers import answered, header_of
from chalicelib.services.ports.context import Context


def gather_evidence(failed: FailedPull, context: Context, role: str | None = None) -> Evidence:
    """`role`: by which it was pulled, where the caller knows. AWS is not asked. Raises TransientError."""
    home, tag = failed.pulled.home, failed.pulled.tag
    digest, lost = failed.pulled.digest, None
    if digest is None and tag is not None:
        digest, lost = _pointed(home, tag, context)
    header = header_of(home.image(digest), context.table) if digest is not None else None
    members = _members(header, failed.said, context) if header is not None and lost is None else ()
    return Evidence(failed, header, members, lost, _denied(home, header, context), role=role)


def _pointed(home: Repository, tag: str, context: Context) -> tuple[str | None, LostTag | None]:
    """The digest that the tag points at; of one that points nowhere, the digest it pointed at before."""
    move = context.table.last_tag_move(home, tag)
    if move is None or move.digest is not None:
        return (move.digest if move is not None else None), None
    return move.former, LostTag(home.image(move.former) if move.former is not None else None, move.at)


def _members(index: Header, said: str, context: Context) -> tuple[Header, ...]:
    """The images of an index: those that the text names, else all of them."""
    children = [child.digest for child in index.children]
    named = set(manifest_digests(said)) & set(children)
    refs = [index.ref.home.image(digest) for digest in children if not named or digest in named]
    found = context.table.read_headers(refs) if refs else {}
    return tuple(found[ref].header for ref in refs if ref in found)


def _denied(home: Repository, header: Header | None, context: Context) -> tuple[ImageRef, ...]:
    """The images because of which we deny all pulls; one whose Deny was begun may be the reason already."""
    digests = context.table.read_denied(home).digests
    if header is not None and header.begun is ActionType.BLOCK and header.ref.digest not in digests:
        digests = (*digests, header.ref.digest)
    return tuple(home.image(digest) for digest in digests)


def explain_pull_failure(evidence: Evidence, context: Context) -> Explanation:
    """`evidence`: what is stored (`gather_evidence`). Raises TransientError where the table does not answer."""
    if evidence.is_open:
        evidence = _looked(evidence, context)
    if evidence.cause.unexplained:
        evidence = msgspec.structs.replace(evidence, past=_past(evidence, context))
    cause = evidence.cause
    if cause.refused and evidence.role is None and read_refusal(evidence.failed.said).role is None:
        evidence = msgspec.structs.replace(evidence, role=_role(evidence.failed.task_arn, context))
    if cause is PullFailureCause.ARCHIVED:
        evidence = msgspec.structs.replace(evidence, retained=_retained(evidence, context))
    if cause.ours:
        evidence = msgspec.structs.replace(evidence, action_ids=_action_ids(cause, evidence, context))
    return explain(evidence)


def _looked(evidence: Evidence, context: Context) -> Evidence:
    look, header = _look(evidence, context), evidence.header
    if look is not None and (detail := look.detail) is not None:
        if header is None or header.ref != detail.ref:
            header = header_of(detail.ref, context.table)
        if header is not None:
            activated_at = detail.activated_at or header.activated_at
            header = msgspec.structs.replace(header, exists=True, storage=detail.storage, activated_at=activated_at)
    return msgspec.structs.replace(evidence, look=look, header=header)


def _look(evidence: Evidence, context: Context) -> EvidenceLookup | None:
    """By what it was pulled by: a tag may have moved without our having heard of it. None: it has nothing to ask by."""
    pulled, registry = evidence.failed.pulled, context.registry
    if pulled.home.public and evidence.header is None:
        return EvidenceLookup(failed="a public registry answers its owner alone")
    try:
        if pulled.digest is not None:
            return EvidenceLookup(registry.describe_image(pulled.home.image(pulled.digest)))
        return EvidenceLookup(registry.describe_tag(pulled.home, pulled.tag)) if pulled.tag is not None else None
    except AbsentError as error:
        return EvidenceLookup(absent=error.what)
    except UpstreamError as error:
        return EvidenceLookup(failed=_failed(error))


def _failed(error: UpstreamError) -> str:
    """What AWS says of our own role is for the log."""
    if isinstance(error, DeniedError):
        return "Lazaretto may not ask that registry"
    return "ECR did not answer in time" if isinstance(error, TransientError) else "ECR did not answer as needed"


def _role(task_arn: str | None, context: Context) -> str | None:
    if task_arn is None:
        return None
    try:
        return context.runtime.pull_role(task_arn)
    except UpstreamError:
        return None


def _action_ids(cause: PullFailureCause, evidence: Evidence, context: Context) -> tuple[str, ...]:
    """Of the acts that are behind it, as far as they are recorded by now."""
    if evidence.stood is not None:
        return (evidence.stood.id,)
    if cause is PullFailureCause.DENY:
        found = [_recorded(ref, ActionType.BLOCK, context) for ref in evidence.denied[:MOST_NAMED]]
    else:
        header = evidence.quarantined
        found = [_recorded(header.ref, _key(header), context)] if header is not None else []
    return tuple(action_id(record) for record in found if record is not None)


def _past(evidence: Evidence, context: Context) -> PastQuarantine | None:
    """Of what a pull needs; only what we ever acted on has one. What was gone before it failed, failed by that."""
    failed, lost = evidence.failed, evidence.lost_tag
    if lost is not None and lost.at <= failed.at:
        return None
    acted = [header for header in evidence.headers if header.enforcement is not None]
    found = (
        past_quarantine(header.ref, _records(header.ref, context), failed.at, header.activated_at) for header in acted
    )
    return max((past for past in found if past is not None), key=lambda past: past.until, default=None)


def _retained(evidence: Evidence, context: Context) -> ActionRecord | None:
    archived = (header for header in evidence.headers if header.storage is StorageStatus.ARCHIVED)
    found = (archived_by(header, _records(header.ref, context)) for header in archived)
    return next((record for record in found if record is not None), None)


def _key(header: Header) -> str:
    if header.begun is ActionType.QUARANTINE and header.enforcement is not None:
        return header.enforcement.key
    return f"{ActionType.QUARANTINE}#{header.hold.number if header.hold is not None else 0}"


def _recorded(ref: ImageRef, effect: str, context: Context) -> ActionRecord | None:
    """The last record of the effect: by its key, or of its kind."""
    records = _records(ref, context)
    return next((r for r in reversed(records) if effect in (r.effect, r.effect.partition("#")[0])), None)


def _records(ref: ImageRef, context: Context) -> list[ActionRecord]:
    """Oldest first; none where one of them cannot be read."""
    return answered(lambda: [row.record for row in context.queries.actions(ref)]) or []
