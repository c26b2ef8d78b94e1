"""Put an image or a repository under legal hold by a person's order, and end the hold. Retention asks for holds
itself."""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.legal_hold import LegalHold
from chalicelib.errors import ConflictError, NotFoundError, ParameterError
from chalicelib.services.enforcement.give_order import checked, known
from chalicelib.services.ports.context import Context


def order_legal_hold(
    repository: Repository, digest: str | None, by: str, reason: str, context: Context, *, dry_run: bool = False
) -> LegalHold:
    """`digest` None: on the whole repository, also on images that are pushed later. One that stands is left as it is.

    Recorded before it is put: cut off in between, it is asked for again. Raises NotFoundError, ConflictError (a
    retired registry), ParameterError (no reason, a public registry).
    """
    reason = checked(reason)
    if repository.public:
        raise ParameterError("registry", "retention takes nothing from ECR Public, so that nothing is held there")
    if digest is not None:
        known(repository.image(digest), context)
    elif context.queries.repository(repository) is None:
        raise NotFoundError(f"{repository.path} is unknown here")
    former = _standing(repository, digest, context)
    if former is not None:
        return former
    hold = LegalHold(repository, digest, by, reason, context.clock.now())
    return hold if dry_run else _put(hold, ActionKind.LEGAL_HOLD, by, reason, "no legal hold", hold.words, context)


def end_legal_hold(
    repository: Repository,
    digest: str | None,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    override: bool = False,
) -> LegalHold:
    """A hold on the repository is not ended by ending that on an image. Raises ConflictError where none stands, or
    where another person put it and `override` is False, ParameterError (no reason)."""
    reason = checked(reason)
    former = _standing(repository, digest, context)
    if former is None:
        raise ConflictError(f"no legal hold stands on {repository.image(digest) if digest else repository.path}")
    if former.by != by and not override and not dry_run:
        raise ConflictError(f"it would end the hold of another person, which needs --override: {former.words}")
    ended = msgspec.structs.replace(former, ended_at=context.clock.now(), ended_by=by, ended_because=reason)
    return ended if dry_run else _put(ended, ActionKind.LEGAL_HOLD_ENDED, by, reason, former.words, "ended", context)


def _standing(repository: Repository, digest: str | None, context: Context) -> LegalHold | None:
    holds = context.legal_holds.of(repository)
    return next((hold for hold in holds if hold.digest == digest and hold.stands), None)


def _put(
    hold: LegalHold, kind: ActionKind, by: str, reason: str, before: str, after: str, context: Context
) -> LegalHold:
    now = hold.ended_at or hold.at
    context.table.record_action(
        ActionRecord(
            ref=None if hold.digest is None else hold.repository.image(hold.digest),
            effect=kind,
            wanted_at=now,
            kind=kind,
            actor=f"person:{by}",
            reason=reason,
            at=now,
            before=before,
            after=after,
            subject=f"repository/{hold.repository.path}" if hold.digest is None else "",
        )
    )
    context.legal_holds.put(hold)
    return hold
