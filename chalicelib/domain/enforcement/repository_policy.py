"""A repository's policy, as far as we touch it: our one statement, which denies all pulls, known by its Sid. Pure.

ECR's policies know neither digest nor tag, so the statement is about the whole repository. Whatever else the policy
holds is left as it is: order, unknown members, values written single or as lists. A text that cannot be understood is
refused (UpstreamError) and never overwritten. When it is written, and when taken away, is for the services.

Source: IAM JSON policy elements; ECR SetRepositoryPolicy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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

_SETS = ("Action", "NotAction", "Resource", "NotResource")
_PRINCIPALS = ("Principal", "NotPrincipal")

Statement = dict[str, Any]


def pull_block(exempt_arns: Sequence[str]) -> Statement:
    """Our statement. It leaves out calls by AWS services, which have no principal ARN (Lambda that pulls a function's
    image), the service-linked roles, and `exempt_arns`: roles by ARN, patterns allowed."""
    return {
        "Sid": SID,
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
    ours = pull_block(exempt_arns)
    if text is None:
        return _written({"Version": VERSION, "Statement": [ours]})
    policy = _read(text)
    statements = _statements(policy)
    mine = [n for n, s in enumerate(statements) if _is_ours(s)]
    if len(mine) == 1 and _plain(statements[mine[0]]) == _plain(ours):
        return text
    place = mine[0] if mine else len(statements)
    others = [s for n, s in enumerate(statements) if n not in mine]
    return _written({**policy, "Statement": [*others[:place], ours, *others[place:]]})


def without_statement(text: str | None) -> str | None:
    """The policy without our statement, `text` itself where it has none. None: no statement is left."""
    if text is None:
        return None
    policy = _read(text)
    statements = _statements(policy)
    others = [s for s in statements if not _is_ours(s)]
    if not others:
        return None
    return text if len(others) == len(statements) else _written({**policy, "Statement": others})


def has_statement(text: str | None) -> bool:
    """Whether our statement stands in it, changed or not. Raises UpstreamError for an unreadable policy."""
    return text is not None and any(_denies_pulls(s) for s in _statements(_read(text)) if s.get("Sid") == SID)


def is_changed(text: str | None, exempt_arns: Sequence[str]) -> bool:
    """Whether our statement stands in it otherwise than we would write it now."""
    return has_statement(text) and with_statement(text, exempt_arns) != text


def canonical(text: str | None) -> str:
    """Equal for policies that say the same: keys in order, one statement as a list of one, one value as a list of one,
    values as a set, truth and numbers of conditions as texts. The statements keep their order. "": no policy."""
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


def _is_ours(statement: Statement) -> bool:
    """Raises UpstreamError for one that has our Sid and does something else: it is not ours to change."""
    if statement.get("Sid") != SID:
        return False
    if not _denies_pulls(statement):
        raise UpstreamError(
            f"the repository's policy is left as it is: its statement {SID} is not ours, or was changed: "
            f"it does not deny exactly {' and '.join(ACTIONS)}; give it another Sid, or remove it"
        )
    return True


def _denies_pulls(statement: Statement) -> bool:
    """IAM tells actions apart whatever their case."""
    held = statement.get("Action")
    actions = [held] if isinstance(held, str) else held if isinstance(held, list) else []
    said = {str(action).lower() for action in actions}
    return statement.get("Effect") == "Deny" and said == {action.lower() for action in ACTIONS}


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
        return _as_set(value)
    if name in _PRINCIPALS:
        return _sets_of({"AWS": value} if value == "*" else value)
    if name == "Condition" and isinstance(value, dict):
        return {operator: _sets_of(keys) for operator, keys in value.items()}
    return value


def _sets_of(value: Any) -> Any:
    return {key: _as_set(one) for key, one in value.items()} if isinstance(value, dict) else value


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
