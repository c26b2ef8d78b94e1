"""Deny all pulls from a repository because of an image, end that, and make the policy agree.

The repository's item holds the digests that want the Deny; our statement stands in the policy while one is left. ECR
puts a policy without any condition. So it is read immediately before each write and read back after it, together with
the set of digests; a worker that has written reads once more, so that of two workers the last one to write leaves it
right. Called again at any point it goes on from what it finds. What another party writes between our write and our
reading back is kept, and said; what falls between our reading and our write is lost; only CloudTrail shows it, and by
what is remembered of the write (`PolicyWrite`) people are told. Whether the Deny still stands is for `check_deny`.

What others take out again and again is not fought about: after two corrections within a day the Deny is not put.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from chalicelib.domain.enforcement.repository_policy import (
    SID,
    canonical,
    has_statement,
    is_changed,
    marks_of,
    stands,
    with_statement,
    without_statement,
)
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import DeniedDigests, PolicyWrite

WRITES = 3
CORRECTIONS = 2
"""Within a day. The next time it is gone, people are told, and it is left to them."""
CHANGED = f"the statement {SID} was not as Lazaretto writes it, and was put right"
COLLIDED = "another writer changed the repository's policy at the same time; what they wrote is kept"
UNDONE = f"the statement {SID} was undone as soon as it was written, and was put right"


class PolicyChange(msgspec.Struct, frozen=True):
    """The repository's policy as it was first and last read; None: it has none. `collided`: a sentence for people
    when another party was changing it too."""

    before: str | None
    after: str | None
    collided: str | None = None


class _Written(msgspec.Struct, frozen=True):
    """A write of ours, and what was read before it."""

    text: str | None
    former: str | None
    denied: DeniedDigests


def agree_policy(repository: Repository, context: Context, *, adds: bool) -> PolicyChange:
    """`adds` False: a statement that is gone is not put back, unless this very call took it out, and sees only now that
    a digest was added before: what was asked for that one, who runs it and the fuse, was asked a moment ago.

    Raises TransientError when others keep changing it: call it again. Raises UpstreamError (DeniedError,
    AbsentError) where the policy cannot or must not be written."""
    own, began = context.own_roles, context.clock.now()
    written: list[_Written] = []
    said: list[str] = []
    known: frozenset[str] = frozenset()
    before: str | None = None
    while True:
        denied = context.table.read_denied(repository)
        text = context.acts.read_policy(repository)
        if written:
            said += _surprises(written, text, denied, own)
        else:
            before = text
            said += [CHANGED] if denied.digests and is_changed(text, own) else []
        wanted = _wanted(text, denied, context) if adds or written or has_statement(text, own) else text
        known |= marks_of(text)
        settled = canonical(wanted) == canonical(text)
        if written and (settled or len(written) == WRITES):
            write = PolicyWrite(began, now := context.clock.now(), known)
            corrects = CHANGED in said or (written[-1].denied.is_lost(now) and stands(text, own))
            context.table.change_denied(repository, partial(DeniedDigests.with_write, write=write, corrects=corrects))
        if settled:
            return PolicyChange(before, text, "; ".join(dict.fromkeys(said)) or None)
        if len(written) == WRITES:
            raise TransientError(f"the policy of {repository.path} was written {WRITES} times and is not as written")
        if wanted is None:
            context.acts.delete_policy(repository)
        else:
            context.acts.write_policy(repository, wanted)
        written.append(_Written(wanted, text, denied))


def _wanted(text: str | None, denied: DeniedDigests, context: Context) -> str | None:
    """The former text comes back just as it was, unless the policy was changed since."""
    own = context.own_roles
    if denied.digests:
        return with_statement(text, own)
    rest = without_statement(text, own)
    if not has_statement(text, own):
        return text
    same = denied.former is not None and canonical(without_statement(denied.former, own)) == canonical(rest)
    return denied.former if same else rest


def _surprises(written: list[_Written], text: str | None, denied: DeniedDigests, own_roles: Sequence[str]) -> list[str]:
    """What is otherwise than our last write left it, unless another worker of ours did it: then the digests differ.

    Once it may still read as before our write: ECR does not promise that a write is seen at once.
    """
    last = written[-1]
    if canonical(text) == canonical(last.text):
        return []
    if canonical(without_statement(text, own_roles)) != canonical(without_statement(last.text, own_roles)):
        return [COLLIDED]
    late = len(written) == 1 and canonical(text) == canonical(last.former)
    return [] if late or denied.digests != last.denied.digests else [UNDONE]


def deny_pulls(ref: ImageRef, context: Context) -> PolicyChange:
    """The digest is written down before the policy is touched: cut off in between, the next call goes on.

    Raises TransientError: call it again. Raises UpstreamError (DeniedError, AbsentError) where the statement cannot be
    put; then the digest is not counted either, so that nothing waits for its release.
    """
    own, text = context.own_roles, context.acts.read_policy(ref.home)
    in_force = False
    try:
        in_force = has_statement(text, own)
        with_statement(text, own)  # what must not be touched, or grows too long, fails before all else
        denied = context.table.change_denied(ref.home, lambda denied: _added(denied, ref.digest, text, in_force))
        if not stands(text, own):
            _refuse_contested(denied, context)
        return agree_policy(ref.home, context, adds=True)
    except TransientError:
        raise
    except UpstreamError:
        if not in_force:
            context.table.change_denied(ref.home, lambda denied: denied.without_digest(ref.digest))
        raise


def _refuse_contested(denied: DeniedDigests, context: Context) -> None:
    if denied.is_lost(context.clock.now()) and is_contested(denied, context):
        raise UpstreamError(
            f"the statement {SID} was put right {CORRECTIONS} times within a day and is gone again; it is left to "
            "people, and tried again when the first of these is a day ago"
        )


def is_contested(denied: DeniedDigests, context: Context) -> bool:
    """Whether others take it out again and again."""
    return len(denied.corrections(context.clock.now())) >= CORRECTIONS


def _added(denied: DeniedDigests, digest: str, text: str | None, in_force: bool) -> DeniedDigests:
    """What the policy was without our statement is remembered when it was last read so."""
    if digest in denied.digests:
        return denied
    known = denied if in_force else msgspec.structs.replace(denied, former=text)
    return known.with_digest(digest)


def allow_pulls(ref: ImageRef, context: Context) -> PolicyChange:
    """The digest is struck off before the policy is touched: cut off in between, the next call goes on. A Deny that
    other images still need and that was taken out is not put back here: an act that takes away looks up first who runs
    them. A repository that is gone denies nothing: a later one of its name begins with nothing.

    Raises TransientError: call it again. Raises UpstreamError (DeniedError) where the statement cannot be taken out;
    then the digest counts as before, so that it is not taken for released.
    """
    context.table.change_denied(ref.home, lambda denied: denied.without_digest(ref.digest))
    try:
        return agree_policy(ref.home, context, adds=False)
    except TransientError:
        raise
    except UpstreamError as error:
        if isinstance(error, AbsentError) and error.what == "repository":
            context.table.change_denied(ref.home, lambda denied: DeniedDigests())
            return PolicyChange(None, None)
        context.table.change_denied(ref.home, lambda denied: denied.with_digest(ref.digest))
        raise
