"""What depends on one image, what to use instead, and who else may pull it.

What could not be looked up is empty *and* named in `unknown`: an empty list alone never means "nothing".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from chalicelib.domain.headers.header import Header, line_name
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Kind, ScanState, StorageStatus
from chalicelib.domain.images.text import sanitize, some_of
from chalicelib.domain.images.verdict import Decision

LAST_PULL = "the last pull"
NO_PUSH = "Which tags are newer cannot be told: it is not known when this image was pushed"
NONE_NEWER = "This line has no newer tag"
SHOWN = 10
LONGEST = 160
_LONGEST_LINE = 1500


class IndexTags(msgspec.Struct, frozen=True):
    """An index that holds the image, and the tags it can be pulled by."""

    digest: str
    tags: tuple[str, ...] = ()


class NewerTag(msgspec.Struct, frozen=True):
    tag: str
    digest: str
    decision: Decision


class BlastRadius(msgspec.Struct, frozen=True):
    """`last_pulled_at` None: no pull is recorded, or `unknown` names it. `newer`: the newest image
    of its line that is clean, by its most exact tag; where `unknown` says that not all were looked at, the newest of
    those that were. None: `why_none` says why, as a sentence, or `unknown` does."""

    in_use: InUse = InUse()
    last_pulled_at: datetime | None = None
    tags: tuple[str, ...] = ()
    indexes: tuple[IndexTags, ...] = ()
    newer: NewerTag | None = None
    why_none: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """For people, harmless on any screen; escaping for one medium is that medium's business."""
        lines = [f"Running: {_running(self.in_use)}", f"Last pulled: {self._pulled}", f"Tags: {_some(self.tags)}"]
        if self.in_use.left_out:
            lines.insert(1, f"Not asked: {_some(self.in_use.left_out, '; ')}")
        if self.indexes:
            lines.append(f"In indexes: {_some(_index_words(one) for one in self.indexes)}")
        lines.append(f"Clean and newer: {self.newer.tag}" if self.newer else self.why_none)
        lines += [f"Could not be looked up: {what}" for what in self.unknown]
        return tuple(sanitize(line, _LONGEST_LINE) for line in lines if line)

    @property
    def _pulled(self) -> str:
        if self.last_pulled_at is not None:
            return f"{self.last_pulled_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        told = not any(what.startswith(LAST_PULL) for what in self.unknown)
        return "no pull is recorded" if told else "cannot be told"


class OrderReach(msgspec.Struct, frozen=True):
    """What an order about an image is about beside it: `along`, what it takes along; `breaks`, the indexes that can be
    pulled, and hold what it takes; `ends`, the indexes above it whose release by a person a quarantine ends. Left by
    it: `shared`, images of an index that other indexes hold too, and `copies`, where else the same digest lies."""

    along: tuple[Header, ...] = ()
    breaks: tuple[Header, ...] = ()
    shared: tuple[Header, ...] = ()
    copies: tuple[Header, ...] = ()
    ends: tuple[Header, ...] = ()

    def lines(self, header: Header) -> tuple[str, ...]:
        """For people, about a quarantine of `header`."""
        found = []
        if tags := [_named_by(one) for one in (header, *self.along) if one.tags]:
            found.append(f"Breaks what pulls by tag: {_some(tags)}.")
        if self.breaks:
            found.append(f"Breaks indexes that hold it: {_some(map(_named_by, self.breaks))}.")
        return (*found, *self.left)

    @property
    def mark(self) -> str:
        """How many it takes along, and a hash of them, and of the indexes whose release it ends, by their ETags."""
        taken = "\n".join(sorted(f"{one.ref} {one.etag}" for one in (*self.along, *self.ends)))
        return f"{len(self.along)}-{hashlib.sha256(taken.encode()).hexdigest()[:12]}"

    @property
    def left(self) -> tuple[str, ...]:
        """The same, about any order."""
        found = [(self.along, "Taken along", ""), (self.shared, "Left, as other indexes hold them", "with-shared")]
        found.append((self.copies, "Left, the same digest elsewhere", "everywhere"))
        return tuple(
            f"{words}: {_some(map(_named_by, headers))}{f'; --{option} takes them too' if option else ''}."
            for headers, words, option in found
            if headers
        )


def _named_by(header: Header) -> str:
    home, tags = header.ref.home, f" ({', '.join(header.tags[:3])})" if header.tags else ""
    return f"{home.path}@{header.ref.digest[:19]}{tags}"


class Line:
    """Reads the headers of a repository one by one, and keeps of the image's line the newest newer and the newest
    clean one. Needs no memory for the others.

    `tags` are those the image can be pulled by, its indexes' among them: a platform's image has none of its own, and
    what replaces it then is a newer index. `own`: the image, its indexes and its images, which replace nothing.
    """

    def __init__(self, header: Header, tags: Sequence[str], own: frozenset[str]) -> None:
        self._header, self._own = header, own
        self._line = line_name(tags)
        self._newest: Header | None = None
        self._clean: Header | None = None

    def see(self, other: Header) -> None:
        if not self._is_newer(other):
            return
        if self._newest is None or _order(other) > _order(self._newest):
            self._newest = other
        if _is_clean(other) and (self._clean is None or _order(other) > _order(self._clean)):
            self._clean = other

    @property
    def newer(self) -> NewerTag | None:
        return None if self._clean is None else self._named(self._clean)

    @property
    def why_none(self) -> str:
        if self._clean is not None:
            return ""
        if self._header.pushed_at is None:
            return NO_PUSH
        if self._newest is None:
            return NONE_NEWER
        newest = self._named(self._newest)
        return f"No newer tag of this line is clean: the newest, {sanitize(newest.tag, LONGEST)}, is {newest.decision}"

    def _is_newer(self, other: Header) -> bool:
        mine = self._header
        if mine.pushed_at is None or other.pushed_at is None or other.ref.digest in self._own:
            return False
        if other.kind is Kind.ARTIFACT or not other.exists or not other.tags or line_name(other.tags) != self._line:
            return False
        if mine.architecture and other.architecture and mine.architecture != other.architecture:
            return False
        return _order(other) > _order(mine)

    def _named(self, other: Header) -> NewerTag:
        """By the tag that says most: `v1.4.3` rather than `v1`."""
        tags = [tag for tag in other.tags if line_name([tag]) == self._line] or list(other.tags)
        return NewerTag(max(tags, key=lambda t: (t.count("."), len(t), t)), other.ref.digest, other.decision)


def _is_clean(header: Header) -> bool:
    """Nothing but a complete scan may be read as clean; an index has none, and is allowed when its images are."""
    scanned = header.kind is Kind.INDEX or header.scan.state is ScanState.COMPLETE
    return scanned and header.decision is Decision.ALLOW and header.storage is StorageStatus.ACTIVE


def _order(header: Header) -> tuple[datetime, ImageRef]:
    assert header.pushed_at is not None
    return header.pushed_at, header.ref


def _running(use: InUse) -> str:
    if use.state is InUseState.YES:
        return _some(use.by, "; ") if use.by else "yes, says Inspector"
    if use.state is InUseState.NO:
        return "nothing, in any place that was asked"
    return f"cannot be told: {_some(use.blind, '; ')}" if use.blind else "cannot be told"


def _index_words(index: IndexTags) -> str:
    tags = f" ({_some(index.tags)})" if index.tags else " (untagged)"
    return index.digest[:19] + tags


def _some(texts: Iterable[str], between: str = ", ") -> str:
    """Each cut and made harmless by itself, so that a long one hides no other."""
    return between.join(sanitize(text, LONGEST) for text in some_of(list(texts), SHOWN)) or "none"


PULL = "ecr:BatchGetImage"  # which a pull always needs
EVERY_ACCOUNT = "every account"
LAMBDA = "lambda.amazonaws.com"
_ACCOUNT = re.compile(r"[0-9]{12}")
# What IAM shows instead of a principal that was deleted.
_DELETED = re.compile(r"A[A-Z0-9]{15,}")
_ORGANISATION = re.compile(r"o-[a-z0-9]{10,32}")
_RESTRICTS = frozenset({"stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"})
_ACCOUNT_KEYS = frozenset({"aws:principalaccount", "aws:sourceaccount", "aws:principalarn", "aws:sourcearn"})
_ORGANISATION_KEYS = frozenset({"aws:principalorgid", "aws:principalorgpaths", "aws:sourceorgid", "aws:sourceorgpaths"})
_RUN_NOTHING = re.compile(r"(.*\.)?(ecr|inspector2|signer)\.amazonaws\.com(\.cn)?")
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_SHOWN = 60


class Statement(msgspec.Struct, frozen=True, rename="pascal"):
    """What a policy may hold is what JSON may: each part is looked at when it is needed."""

    effect: str
    principal: Any = None
    not_principal: Any = None
    action: Any = None
    not_action: Any = None
    resource: Any = None
    not_resource: Any = None
    condition: dict[str, dict[str, Any]] = {}


class _Policy(msgspec.Struct, rename="pascal"):
    statement: list[Statement] | Statement


def read_statements(policy: str) -> list[Statement]:
    """Raises ValueError for a text that is no policy."""
    try:
        read = msgspec.json.decode(policy, type=_Policy).statement
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"no policy: {error}") from error
    return read if isinstance(read, list) else [read]


def let_in(policy: str, arn: str, account: str) -> tuple[str, ...]:
    """Whom beside `account` the policy lets pull from the repository `arn`, in words, each once. It errs towards
    telling: a Deny is not weighed, a condition that names no account and no organisation lets everyone in. Another
    account's own policies are unknown here. Raises ValueError for a text that is no policy.

    Sources: IAM user guide (policy elements), Lambda developer guide (permissions of container images).
    """
    found: dict[str, None] = {}
    for statement in read_statements(policy):
        if statement.effect == "Allow" and _is_about(statement, arn):
            found |= dict.fromkeys(_spoken_to(statement, account))
    return (EVERY_ACCOUNT,) if EVERY_ACCOUNT in found else tuple(found)


def _is_about(statement: Statement, arn: str) -> bool:
    """A repository's policy names no resource: it is the repository."""
    if not _named(statement.action, statement.not_action, PULL.lower(), fold=True):
        return False
    named, left_out = statement.resource, statement.not_resource
    return (named is None and left_out is None) or _named(named, left_out, arn)


def _named(wanted: Any, unwanted: Any, text: str, *, fold: bool = False) -> bool:
    if unwanted is not None:
        return not any(_fits(pattern, text, fold) for pattern in _texts(unwanted))
    return any(_fits(pattern, text, fold) for pattern in _texts(wanted))


def _fits(pattern: str, text: str, fold: bool) -> bool:
    """IAM's wildcards are `*` and `?` alone; what a variable stands for is not known, so it may be anything."""
    plain = _VARIABLE.sub("*", pattern.lower() if fold else pattern)
    parts = re.escape(plain).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(parts, text, re.DOTALL) is not None


def _spoken_to(statement: Statement, account: str) -> Iterator[str]:
    accounts, organisations = _conditions(statement)
    if statement.principal is None:
        yield from _anybody(accounts, organisations, account)
        return
    principal = {"AWS": "*"} if statement.principal == "*" else statement.principal
    if not isinstance(principal, dict):
        raise ValueError("Principal is neither * nor an object")  # noqa: TRY004 - what is wrong is the text
    for kind, names in principal.items():
        for name in _texts(names):
            if kind == "Service":
                yield from _service(name, accounts, account)
            elif kind == "AWS":
                yield from _principal(name, accounts, organisations, account)
            else:
                yield f"identities of {sanitize(name, _SHOWN)}"


def _principal(name: str, accounts: set[str] | None, organisations: set[str], own: str) -> Iterator[str]:
    if name == "*":
        yield from _anybody(accounts, organisations, own)
    elif (theirs := _account_of(name)) is not None:
        if theirs != own and (accounts is None or theirs in accounts):
            yield f"account {theirs}"
    elif not _DELETED.fullmatch(name):
        yield f"principal {sanitize(name, _SHOWN)}"


def _anybody(accounts: set[str] | None, organisations: set[str], own: str) -> Iterator[str]:
    if accounts is not None:
        yield from (f"account {theirs}" for theirs in sorted(accounts - {own}))
    elif organisations:
        yield from (f"organisation {one}" for one in sorted(organisations))
    else:
        yield EVERY_ACCOUNT


def _service(name: str, accounts: set[str] | None, own: str) -> Iterator[str]:
    """AWS Lambda pulls only for functions whose account the repository let in when they were made. Our own functions
    are looked at; a condition names another account's, or that account itself is let in."""
    if name == LAMBDA:
        yield from (f"AWS Lambda of account {theirs}" for theirs in sorted((accounts or set()) - {own}))
    elif not _RUN_NOTHING.fullmatch(name):
        yield f"service {sanitize(name, _SHOWN)}"


def _conditions(statement: Statement) -> tuple[set[str] | None, set[str]]:
    """The accounts (None: not limited to any) and the organisations that the conditions limit it to."""
    accounts: set[str] | None = None
    organisations: set[str] = set()
    for operator, tests in statement.condition.items():
        if operator.lower().removeprefix("foranyvalue:") not in _RESTRICTS:
            continue
        for key, values in tests.items():
            if key.lower() in _ACCOUNT_KEYS and None not in (named := {_account_of(v) for v in _texts(values)}):
                theirs = {one for one in named if one is not None}
                accounts = theirs if accounts is None else accounts & theirs
            elif key.lower() in _ORGANISATION_KEYS and all(_ORGANISATION.match(v) for v in _texts(values)):
                organisations |= {v.partition("/")[0] for v in _texts(values)}
    return accounts, organisations


def _account_of(name: str) -> str | None:
    """Of an account id, or of an ARN that names one."""
    if _ACCOUNT.fullmatch(name):
        return name
    parts = name.split(":")
    return parts[4] if len(parts) > 5 and _ACCOUNT.fullmatch(parts[4]) else None


def _texts(value: Any) -> list[str]:
    """One or many, as IAM lets them be written."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(one, str) for one in values):
        raise ValueError("text expected in a policy")
    return values
