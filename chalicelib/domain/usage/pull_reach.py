"""Who else a policy lets pull: the accounts, organisations and services its Allow statements speak to. Pure.

It errs towards telling: a Deny is not weighed, a condition that names no account and no organisation counts as one that
lets everybody in, and what another account's own policies say is not known here. No pull does without
`ecr:BatchGetImage`, so that a statement without it lets nobody pull.

Sources: IAM user guide (policy elements), Lambda developer guide (permissions of container images).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from chalicelib.domain.images.sanitize import sanitize

PULL = "ecr:BatchGetImage"
EVERYBODY = "every account"
LAMBDA = "lambda.amazonaws.com"
_ACCOUNT = re.compile(r"[0-9]{12}")
# What IAM shows instead of a principal that was deleted: nobody.
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


def let_in(policy: str, arn: str, account: str) -> tuple[str, ...]:
    """Whom beside `account` the policy lets pull from the repository `arn`, in words, each once.

    Raises ValueError for a text that is no policy.
    """
    try:
        read = msgspec.json.decode(policy, type=_Policy).statement
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"no policy: {error}") from error
    found: dict[str, None] = {}
    for statement in read if isinstance(read, list) else [read]:
        if statement.effect == "Allow" and _is_about(statement, arn):
            found |= dict.fromkeys(_spoken_to(statement, account))
    return (EVERYBODY,) if EVERYBODY in found else tuple(found)


def _is_about(statement: Statement, arn: str) -> bool:
    """A repository's policy names no resource: it is the repository."""
    if not _named(statement.action, statement.not_action, PULL.lower(), fold=True):
        return False
    return _named(statement.resource, statement.not_resource, arn) or (statement.resource, statement.not_resource) == (
        None,
        None,
    )


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
        yield EVERYBODY


def _service(name: str, accounts: set[str] | None, own: str) -> Iterator[str]:
    """AWS Lambda pulls for functions alone whose account the repository has let in when they were made: our own
    functions are looked at, another account's are named by a condition, or that account itself is let in."""
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
