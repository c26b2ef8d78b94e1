"""Whether a destination's registry policy lets another account replicate into it. Pure.

ECR replicates across accounts only where the destination's registry policy lets the source account `ecr:ReplicateImage`
and, where the repository is not there yet, `ecr:CreateRepository`. What cannot be told (a condition, a text that is no
policy) is not taken for either.

Source: Amazon ECR user guide (registry policy examples), IAM policy evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.domain.images.glob import Globs
from chalicelib.domain.images.image import Repository
from chalicelib.domain.usage.pull_reach import Statement

REPLICATE, CREATE = "ecr:ReplicateImage", "ecr:CreateRepository"


class Allowance(msgspec.Struct, frozen=True):
    """Whether images may be copied into a registry, and their repositories be made there. None: it cannot be told."""

    replicate: bool | None
    create: bool | None


class _Policy(msgspec.Struct, rename="pascal"):
    statement: list[Statement] | Statement


def allowance(text: str | None, source: str, target: Repository) -> Allowance:
    """What the registry policy `text` (None: there is none) of the target's registry allows the account `source`.
    Within one account none is needed."""
    if source == target.registry:
        return Allowance(True, True)
    if text is None:
        return Allowance(False, False)
    try:
        read = msgspec.json.decode(text, type=_Policy).statement
    except (msgspec.MsgspecError, RecursionError):
        return Allowance(None, None)
    statements = read if isinstance(read, list) else [read]
    return Allowance(*(_allowed(statements, action, source, target.arn) for action in (REPLICATE, CREATE)))


def _allowed(statements: Sequence[Statement], action: str, source: str, arn: str) -> bool | None:
    """A Deny wins; a statement under a condition may hold or not."""
    about = [s for s in statements if _is_about(s, action, source, arn)]
    denying = [s for s in about if s.effect == "Deny"]
    allowing = [s for s in about if s.effect == "Allow"]
    if any(not s.condition for s in denying) or not allowing:
        return False
    return None if denying or all(s.condition for s in allowing) else True


def _is_about(statement: Statement, action: str, source: str, arn: str) -> bool:
    acted = _named(statement.action, statement.not_action, action, fold=True)
    return acted and _named(statement.resource, statement.not_resource, arn) and _speaks_to(statement, source)


def _named(wanted: Any, unwanted: Any, text: str, *, fold: bool = False) -> bool:
    texts = _texts(wanted if unwanted is None else unwanted)
    fits = any(_fits(t.lower(), text.lower()) if fold else _fits(t, text) for t in texts)
    return fits is (unwanted is None)


def _fits(pattern: str, text: str) -> bool:
    """IAM's wildcards are `*` and `?`; a leading `!` would be a glob's exclusion, and is none of IAM's."""
    return not pattern.startswith("!") and Globs(pattern).match(text)


def _speaks_to(statement: Statement, source: str) -> bool:
    if statement.not_principal is not None:
        return not any(_is_account(name, source) for name in _principals(statement.not_principal))
    return any(_is_account(name, source) for name in _principals(statement.principal))


def _principals(principal: Any) -> list[str]:
    if isinstance(principal, dict):
        return _texts(principal.get("AWS"))
    return _texts(principal)


def _is_account(name: str, source: str) -> bool:
    """ECR replicates as the source account's own service-linked role: the account, or everybody, is let in."""
    parts = name.split(":")
    root = len(parts) > 5 and parts[4] == source and parts[5] == "root"
    return name in ("*", source) or root


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
