"""Make a repository's policy agree with the digests whose pulls it is to deny: our statement stays while one is left.

ECR puts a policy whatever it was before, on no condition. So it is read immediately before each write and read back
after it, together with the set of digests; whoever has written looks once more, so that of two workers the last one to
write leaves it right. Called again at any point it goes on from what it finds. What somebody else writes between our
write and our reading back is kept, and said; what falls between our reading and our write is lost to ECR, and only
CloudTrail tells of it.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.enforcement.repository_policy import (
    SID,
    canonical,
    has_statement,
    is_changed,
    with_statement,
    without_statement,
)
from chalicelib.domain.images.image import Repository
from chalicelib.errors import TransientError
from chalicelib.services.ports.ports import Denied, House

WRITES = 3
CHANGED = f"the statement {SID} was not as Lazaretto writes it, and was put right"
COLLIDED = "somebody else changed the repository's policy at the same time; what they wrote is kept"
UNDONE = f"the statement {SID} was undone as soon as it was written, and was put right"


class PolicyChange(msgspec.Struct, frozen=True):
    """The repository's policy as it was first and last read; None: it has none. `collided`: a sentence for people
    when somebody else was at it too."""

    before: str | None
    after: str | None
    collided: str | None = None


class _Written(msgspec.Struct, frozen=True):
    """A write of ours, and what was read before it."""

    text: str | None
    former: str | None
    denied: Denied


def agree_policy(repository: Repository, house: House, *, adds: bool) -> PolicyChange:
    """`adds` False: a statement that is gone is not put back, unless this very call took it out, and sees only now that
    a digest was added before: what was asked for that one, who runs it and the fuse, was asked a moment ago.

    Raises TransientError when others keep changing it: call it again. Raises UpstreamError (DeniedError,
    AbsentError) where the policy cannot or must not be written."""
    written: list[_Written] = []
    said: list[str] = []
    before: str | None = None
    while True:
        denied = house.table.read_denied(repository)
        text = house.acts.read_policy(repository)
        if written:
            said += _surprises(written, text, denied)
        else:
            before = text
            said += [CHANGED] if denied.digests and is_changed(text, house.own_roles) else []
        wanted = _wanted(text, denied, house) if adds or written or has_statement(text) else text
        if canonical(wanted) == canonical(text):
            return PolicyChange(before, text, "; ".join(dict.fromkeys(said)) or None)
        if len(written) == WRITES:
            raise TransientError(f"the policy of {repository.path} was written {WRITES} times and is not as written")
        _put(repository, wanted, house)
        written.append(_Written(wanted, text, denied))


def _wanted(text: str | None, denied: Denied, house: House) -> str | None:
    """The former text comes back just as it was, unless somebody has changed the policy since."""
    if denied.digests:
        return with_statement(text, house.own_roles)
    rest = without_statement(text)
    if not has_statement(text):
        return text
    same = denied.former is not None and canonical(without_statement(denied.former)) == canonical(rest)
    return denied.former if same else rest


def _put(repository: Repository, text: str | None, house: House) -> None:
    if text is None:
        house.acts.delete_policy(repository)
    else:
        house.acts.write_policy(repository, text)


def _surprises(written: list[_Written], text: str | None, denied: Denied) -> list[str]:
    """What is otherwise than our last write left it, unless another worker of ours did it: then the digests differ.

    Once it may still read as before our write: ECR does not promise that a write is seen at once.
    """
    last = written[-1]
    if canonical(text) == canonical(last.text):
        return []
    if canonical(without_statement(text)) != canonical(without_statement(last.text)):
        return [COLLIDED]
    late = len(written) == 1 and canonical(text) == canonical(last.former)
    return [] if late or denied.digests != last.denied.digests else [UNDONE]
