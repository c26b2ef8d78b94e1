"""Plan retention for one repository: list it whole, judge, look up what would go, resolve. Nothing is taken.

A failed listing raises. A missing header, an unread manifest, a place that may run an image and an unchecked replica
each keep what depends on them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.image import INDEX_MEDIA_TYPES, InUseState, Repository
from chalicelib.domain.reconcile.registry_listing import ImagesListed
from chalicelib.domain.retention.image import Inside, Layer, retained_image
from chalicelib.domain.retention.legal_hold import LegalHold, held
from chalicelib.domain.retention.plan import RetentionPlan
from chalicelib.domain.retention.retention import JudgedRepository, judge, resolve, rule_for
from chalicelib.errors import AbsentError
from chalicelib.services.ports.answers import answered
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_image_uses import coming, find_image_uses

READ_AT_ONCE = 500
"""Manifests between two checks of the time."""


class Planned(msgspec.Struct, frozen=True):
    """`listed_at`: AWS's time, by which ages are counted. `layers` by the image's digest, where asked for. `next`:
    where the next part of the run begins; None: all is looked up. `in_time`: the part was not cut short, so that
    planning it again gives the same id. `not_asked`: what no look-up of who runs the images asks."""

    plan: RetentionPlan
    listed_at: datetime
    policy_version: int
    layers: Mapping[str, tuple[Layer, ...]] = {}
    next: str | None = None
    in_time: bool = True
    not_asked: tuple[str, ...] = ()


def plan_retention(
    repository: Repository,
    context: Context,
    *,
    with_layers: bool = False,
    rules: Rules | None = None,
    start: str = "",
    gone: int = 0,
    until: datetime | None = None,
    among: Collection[str] | None = None,
    most: int | None = None,
) -> Planned:
    """`with_layers`: where something would go, sizes are read from manifests, a call for each hundred images. `start`:
    the `next` of the part before in this run, in which so many are `gone` by now. `until`: look-ups end, and the next
    part continues. `among`: only these may go. Raises AbsentError (`repository`), TooLargeError where there are more
    than `most` images, and what a failed listing raises."""
    rules = rules or context.rules.fresh()
    listed = context.keeper.images(repository, most)
    if listed.absent:
        raise AbsentError("repository", f"{repository.path} is not there")
    headers = {header.ref.digest: header for header in context.table.headers_of(repository)}
    insides = _insides(repository, _unread_indexes(listed, headers), context)
    holds = context.legal_holds.of(repository)
    judged = _judged(repository, listed, insides, headers, holds, rules)
    if soon := coming(judged, start, context):
        # What may go is read once more, consistently: the pages were eventually consistent.
        found = context.table.read_headers([repository.image(digest) for digest in soon])
        headers |= {ref.digest: stored.header for ref, stored in found.items()}
        judged = _judged(repository, listed, insides, headers, holds, rules)
    looked = find_image_uses(judged, start, context, until)
    missing = _missing(repository, [d for d, use in looked.uses.items() if use.state is InUseState.NO], context)
    passed = [digest for leader, digests in judged.groups if leader <= start for digest in digests]
    plan = resolve(judged, looked.uses, missing, passed, gone, among)
    layers = _layers(plan, context, until) if with_layers and plan.wanted else {}
    not_asked = tuple(dict.fromkeys(words for use in looked.uses.values() for words in use.left_out))
    return Planned(plan, listed.listed_at, rules.policy_version, layers, looked.next, looked.in_time, not_asked)


def _judged(
    repository: Repository,
    listed: ImagesListed,
    insides: Mapping[str, Inside],
    headers: Mapping[str, Header],
    holds: Sequence[LegalHold],
    rules: Rules,
) -> JudgedRepository:
    now = listed.listed_at
    images = [retained_image(i, insides.get(d), headers.get(d), rules, now) for d, i in listed.images.items()]
    return judge(repository, [held(image, holds) for image in images], rules.policy.retention, now)


def _layers(plan: RetentionPlan, context: Context, until: datetime | None) -> Mapping[str, tuple[Layer, ...]]:
    """Of what would go, then of what stays, newest first: that shares most layers."""
    found: dict[str, tuple[Layer, ...]] = {}
    digests = [decision.image.digest for decision in sorted(plan.decisions, key=lambda decision: not decision.taken)]
    for start in range(0, len(digests), READ_AT_ONCE):
        if start and until is not None and context.clock.now() >= until:
            break
        insides = _insides(plan.repository, digests[start : start + READ_AT_ONCE], context)
        found |= {digest: inside.layers for digest, inside in insides.items() if inside.layers is not None}
    return found


def _unread_indexes(listed: ImagesListed, headers: Mapping[str, Header]) -> set[str]:
    """A manifest never changes: an index whose children are stored is not read again."""
    read = {digest for digest, header in headers.items() if header.children}
    return {d for d, image in listed.images.items() if image.media_type in INDEX_MEDIA_TYPES and d not in read}


def _insides(repository: Repository, digests: Collection[str], context: Context) -> Mapping[str, Inside]:
    return (answered(lambda: context.keeper.insides(repository, digests)) if digests else None) or {}


def _missing(repository: Repository, digests: Sequence[str], context: Context) -> dict[str, str] | None:
    """Why the copies of an image are not proven to be there. None: unknown for all."""
    if not digests:
        return {}
    answers = answered(lambda: context.replicas.missing(repository, digests))
    if answers is None:
        return None
    words = {True: "a copy that replication owes is not there", None: "its replicas were not checked yet"}
    return {digest: words[answer] for digest, answer in answers.items() if answer is not False}


def has_rule(repository: Repository, rules: Rules) -> bool:
    """Whether any rule names the repository: else nothing need be listed."""
    return rule_for(repository, rules.policy.retention) is not None
