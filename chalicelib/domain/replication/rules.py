"""Replication between registries: which rules copy a repository where, and whether the destination lets them. Pure.

ECR copies what is pushed or restored while there is a rule, over one hop; deletions only where the rule says so;
settings never. Across accounts the destination's registry policy must allow the source account `ecr:ReplicateImage`
and, where the repository does not exist, `ecr:CreateRepository`. What cannot be read (a condition, a broken text)
counts as neither allowed nor denied. Sources: Amazon ECR user guide (private image replication, registry policy
examples), DescribeRegistry, IAM policy evaluation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.text import Globs
from chalicelib.domain.usage.blast_radius import Statement, read_statements


class Destination(msgspec.Struct, frozen=True, order=True):
    """A registry in a Region that images are copied to."""

    registry: str
    region: str

    @property
    def path(self) -> str:
        """`<registry>/<region>`: the form used in the table's keys."""
        return f"{self.registry}/{self.region}"

    def repository(self, source: Repository) -> Repository:
        """A copy keeps the name of its repository."""
        return Repository(self.registry, self.region, source.name)

    def __str__(self) -> str:
        return f"{self.registry} in {self.region}"


class ReplicationRule(msgspec.Struct, frozen=True):
    """`prefixes` (PREFIX_MATCH): of its repositories; none: all. `deletes`: deletions of images and tags are copied."""

    destinations: tuple[Destination, ...]
    prefixes: tuple[str, ...] = ()
    deletes: bool = False

    def covers(self, name: str) -> bool:
        return not self.prefixes or any(name.startswith(prefix) for prefix in self.prefixes)


class Configuration(msgspec.Struct, frozen=True):
    """The replication rules of one registry in one Region."""

    rules: tuple[ReplicationRule, ...] = ()

    def destinations_of(self, home: Repository) -> tuple[Destination, ...]:
        """Where images of the repository are copied to."""
        return self._places(home, self.rules)

    def deleting(self, home: Repository) -> tuple[Destination, ...]:
        """Those where deletions are copied as well."""
        return self._places(home, tuple(rule for rule in self.rules if rule.deletes))

    def _places(self, home: Repository, rules: Sequence[ReplicationRule]) -> tuple[Destination, ...]:
        places = {place for rule in rules if rule.covers(home.name) for place in rule.destinations}
        return tuple(sorted(place for place in places if place.repository(home) != home))


class DestinationAccess(msgspec.Struct, frozen=True):
    """A destination of one repository. `seen_at`: the first check that found a rule for it; what was pushed before
    may be older than the rule. `gone_at`: the first check that found none any more. `unread`: why it cannot be read
    (None: it can), `unread_at`: since when. `differences`: of its settings, each a sentence, as of `compared_at`.
    `deletes_at`: the first check that found a rule that copies deletions (None: there is none); what was deleted
    before stays there."""

    destination: Destination
    seen_at: datetime
    gone_at: datetime | None = None
    unread: str | None = None
    differences: tuple[str, ...] = ()
    compared_at: datetime | None = None
    deletes_at: datetime | None = None
    unread_at: datetime | None = None

    def looked_at(self, unread: str | None, now: datetime) -> DestinationAccess:
        since = None if unread is None else self.unread_at or now
        return msgspec.structs.replace(self, unread=unread, unread_at=since)


def sights_of(
    known: Sequence[DestinationAccess],
    destinations: Sequence[Destination],
    now: datetime,
    deleting: Collection[Destination] = (),
) -> tuple[DestinationAccess, ...]:
    """A destination without a rule is remembered, because its copies are still there. A rule that returns is a new one.
    `deleting`: where deletions are copied as well."""
    before = {sight.destination: sight for sight in known}
    found = {}
    for place in destinations:
        former = before.get(place)
        sight = former if former is not None and former.gone_at is None else DestinationAccess(place, now)
        deletes_at = (sight.deletes_at or now) if place in deleting else None
        found[place] = msgspec.structs.replace(sight, deletes_at=deletes_at)
    for place, former in before.items():
        if place not in found:
            found[place] = former if former.gone_at is not None else msgspec.structs.replace(former, gone_at=now)
    return tuple(found[place] for place in sorted(found))


REPLICATE, CREATE = "ecr:ReplicateImage", "ecr:CreateRepository"


class Allowance(msgspec.Struct, frozen=True):
    """Whether images may be copied into a registry, and repositories created there. None: unknown."""

    replicate: bool | None
    create: bool | None


def allowance(text: str | None, source: str, target: Repository) -> Allowance:
    """What the registry policy `text` (None: there is none) of the target's registry allows the account `source`.
    Within one account none is needed."""
    if source == target.registry:
        return Allowance(True, True)
    if text is None:
        return Allowance(False, False)
    try:
        statements = read_statements(text)
    except ValueError:
        return Allowance(None, None)
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
    """IAM's wildcards are `*` and `?`; the exclusion `!` of our globs is not IAM's."""
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
    """ECR replicates as the service-linked role of the source account: its policy names the account, or all."""
    parts = name.split(":")
    root = len(parts) > 5 and parts[4] == source and parts[5] == "root"
    return name in ("*", source) or root


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str)]
