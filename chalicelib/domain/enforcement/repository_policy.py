"""A repository's policy, as far as we touch it: our one statement, which denies all pulls. Pure.

ECR's policies know neither digest nor tag, so the statement is about the whole repository. It stands only where the
whole of it says what we would write now. Ours is what begins with our Sid and names one of our roles, or denies pulls
and is not just what another installation writes, with roles of its own. Another installation's statement, and whatever
else the policy holds, is left as it is: order, unknown members, values written single or as lists. A text that cannot
be understood is refused (UpstreamError) and never overwritten. When it is written, and when taken away, is for the
services.

Source: IAM JSON policy elements; ECR SetRepositoryPolicy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from chalicelib.errors import UpstreamError

SID = "LazarettoPullBlock"
ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
SERVICE_ROLES = (
    "arn:*:iam::*:role/aws-service-role/inspector2.amazonaws.com/*",
    "arn:*:iam::*:role/aws-service-role/replication.ecr.amazonaws.com/*",
)
"""Amazon Inspector's and ECR replication's own: the scanner is never blocked."""
VERSION = "2012-10-17"
MOST_CHARACTERS = 10_240

_ACTIONS = ("Action", "NotAction")
_SETS = ("Action", "NotAction", "Resource", "NotResource")
_PRINCIPALS = ("Principal", "NotPrincipal")

Statement = dict[str, Any]


def pull_block(exempt_arns: Sequence[str], sid: str = SID) -> Statement:
    """Our statement. It leaves out calls by AWS services, which have no principal ARN (Lambda that pulls a function's
    image), the service-linked roles, and `exempt_arns`: roles by ARN, patterns allowed."""
    return {
        "Sid": sid,
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(ACTIONS),
        "Condition": {
            "ArnNotLike": {"aws:PrincipalArn": [*dict.fromkeys(exempt_arns), *SERVICE_ROLES]},
            "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
        },
    }


def with_statement(text: str | None, exempt_arns: Sequence[str]) -> str:
    """The policy with our statement, as it is to be now: behind the others, or where it stood. `text` itself where
    nothing is to be changed; None: there is no policy yet. Raises UpstreamError, also where ECR would not take it."""
    if text is None:
        return _written({"Version": VERSION, "Statement": [pull_block(exempt_arns)]})
    policy = _read(text)
    statements = _statements(policy)
    mine = [n for n, s in enumerate(statements) if _is_ours(s, exempt_arns)]
    if len(mine) == 1 and _is_whole(statements[mine[0]], exempt_arns):
        return text
    place = mine[0] if mine else len(statements)
    others = [s for n, s in enumerate(statements) if n not in mine]
    ours = pull_block(exempt_arns, _free_sid(others, exempt_arns))
    return _written({**policy, "Statement": [*others[:place], ours, *others[place:]]})


def without_statement(text: str | None, exempt_arns: Sequence[str] = ()) -> str | None:
    """The policy without our statement, `text` itself where it has none. None: no statement is left."""
    if text is None:
        return None
    policy = _read(text)
    statements = _statements(policy)
    others = [s for s in statements if not _is_ours(s, exempt_arns)]
    if not others:
        return None
    return text if len(others) == len(statements) else _written({**policy, "Statement": others})


def has_statement(text: str | None, exempt_arns: Sequence[str] = ()) -> bool:
    """Whether our statement is in it, changed or not. Raises UpstreamError for an unreadable policy."""
    return text is not None and any(_is_ours(s, exempt_arns) for s in _statements(_read(text)))


def stands(text: str | None, exempt_arns: Sequence[str]) -> bool:
    """Whether our statement is in it, and the whole of it says what we would write. Raises UpstreamError as above."""
    return text is not None and any(_is_whole(s, exempt_arns) for s in _statements(_read(text)))


def is_changed(text: str | None, exempt_arns: Sequence[str]) -> bool:
    """Whether our statement stands in it otherwise than we would write it now."""
    return has_statement(text, exempt_arns) and with_statement(text, exempt_arns) != text


def marks_of(text: str | None) -> frozenset[str]:
    """One for each statement, equal for statements that say the same: by them a later reader knows what was there.
    Raises UpstreamError."""
    return frozenset() if text is None else frozenset(map(_mark, _statements(_read(text))))


def unknown_statements(text: str, known: Collection[str], exempt_arns: Sequence[str]) -> tuple[str, ...]:
    """The statements of others in it, as JSON, whose mark is not among `known`. Raises UpstreamError."""
    statements = [s for s in _statements(_read(text)) if not _is_ours(s, exempt_arns)]
    return tuple(json.dumps(s, ensure_ascii=False) for s in statements if _mark(s) not in known)


def _mark(statement: Statement) -> str:
    return hashlib.sha256(json.dumps(_plain(statement), sort_keys=True).encode()).hexdigest()[:16]


def canonical(text: str | None) -> str:
    """Equal for policies that say the same: keys in order, one statement as a list of one, one value as a list of one,
    values as a set, truth and numbers of conditions as texts, the case of actions, operators and condition keys aside.
    The statements keep their order. "": no policy."""
    if text is None:
        return ""
    policy = _read(text)
    return json.dumps({**policy, "Statement": [_plain(s) for s in _statements(policy)]}, sort_keys=True)


def _read(text: str) -> dict[str, Any]:
    try:
        policy = json.loads(text, object_pairs_hook=_members, parse_float=_number, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise UpstreamError(f"the repository's policy is left as it is: it cannot be read as JSON: {error}") from None
    if not isinstance(policy, dict):
        raise UpstreamError("the repository's policy is left as it is: it is no JSON object")
    return policy


def _statements(policy: dict[str, Any]) -> list[Statement]:
    held = policy.get("Statement")
    statements = [held] if isinstance(held, dict) else held
    if not isinstance(statements, list) or not all(isinstance(s, dict) for s in statements):
        raise UpstreamError("the repository's policy is left as it is: its Statement is no list of objects")
    return statements


def _is_ours(statement: Statement, exempt_arns: Sequence[str]) -> bool:
    if not str(statement.get("Sid")).startswith(SID):
        return False
    if any(json.dumps(arn) in json.dumps(statement) for arn in exempt_arns):
        return True
    theirs = [arn for arn in _exempted(statement) if arn not in SERVICE_ROLES]
    is_another = bool(exempt_arns and theirs) and _says_same(statement, pull_block(theirs))
    return _denies_pulls(statement) and not is_another


def _is_whole(statement: Statement, exempt_arns: Sequence[str]) -> bool:
    return str(statement.get("Sid")).startswith(SID) and _says_same(statement, pull_block(exempt_arns))


def _says_same(one: Statement, other: Statement) -> bool:
    return _plain({**one, "Sid": SID}) == _plain({**other, "Sid": SID})


def _exempted(statement: Statement) -> list[str]:
    plain = _plain(statement).get("Condition")
    held = plain.get("arnnotlike") if isinstance(plain, dict) else None
    arns = held.get("aws:principalarn") if isinstance(held, dict) else None
    return [str(arn) for arn in arns] if isinstance(arns, list) else []


def _free_sid(others: Sequence[Statement], exempt_arns: Sequence[str]) -> str:
    """A policy has each Sid once: where a statement of others has ours, it gets a mark of this installation behind."""
    if all(s.get("Sid") != SID for s in others):
        return SID
    return SID + hashlib.sha256("\n".join(sorted(exempt_arns)).encode()).hexdigest()[:8]


def _denies_pulls(statement: Statement) -> bool:
    actions = _plain({"Action": statement.get("Action")})["Action"]
    return statement.get("Effect") == "Deny" and actions == sorted(action.lower() for action in ACTIONS)


def _written(policy: dict[str, Any]) -> str:
    text = json.dumps(policy, separators=(",", ":"), ensure_ascii=False)
    if len(text) > MOST_CHARACTERS:
        raise UpstreamError(
            f"the repository's policy is left as it is: with the statement {SID} it would have {len(text):,} "
            f"characters, and ECR takes at most {MOST_CHARACTERS:,}"
        )
    return text


def _plain(statement: Statement) -> Statement:
    return {name: _plain_member(name, value) for name, value in statement.items()}


def _plain_member(name: str, value: Any) -> Any:
    if name in _SETS:
        values = _as_set(value)
        actions = name in _ACTIONS and isinstance(values, list) and all(isinstance(one, str) for one in values)
        return sorted({one.lower() for one in values}) if actions else values
    if name in _PRINCIPALS:
        return _sets_of({"AWS": value} if value == "*" else value)
    if name == "Condition" and isinstance(value, dict):
        return {operator.lower(): _sets_of(keys, any_case=True) for operator, keys in value.items()}
    return value


def _sets_of(value: Any, *, any_case: bool = False) -> Any:
    if not isinstance(value, dict):
        return value
    return {(key.lower() if any_case else key): _as_set(one) for key, one in value.items()}


def _as_set(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) for one in values):
        return value
    return sorted({one if isinstance(one, str) else json.dumps(one) for one in values})


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members of one name only one would be left."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError(f"a member stands in it twice, one of {', '.join(members)}"[:200])
    return members


def _number(text: str) -> float:
    """Raises ValueError for one that would be written otherwise than it was read."""
    value = float(text)
    if Decimal(repr(value)) != Decimal(text):
        raise ValueError(f"{text[:40]} is more exact than can be kept")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
