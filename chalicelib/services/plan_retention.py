"""Plan retention for one repository: list it whole, judge it, look up what would go, and settle. Nothing is done here.

What could not be looked up keeps: a listing that fails raises, a header that is not there, a manifest that cannot be
read, a place that may run an image and a replica nobody has looked for each keep what hangs on them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.header import Header, Rules
from chalicelib.domain.image import INDEX_MEDIA_TYPES, ImageDetail, InUse, InUseState, Repository
from chalicelib.domain.registry_listing import ImagesListed
from chalicelib.domain.retention import Judged, judge, rule_for, settle
from chalicelib.domain.retention_image import Inside, Layer, RetainedImage, retained_image, within
from chalicelib.domain.retention_plan import RetentionPlan
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.ports import Subject
from chalicelib.services.sweep_ports import RetentionHouse

MOST_LOOKED_UP = 100
"""Images that are asked about for one plan: what is beyond stays, and counts for the limits. A cluster of EKS costs a
call for each, and who takes what may go has 60 seconds for all of it."""


class Planned(msgspec.Struct, frozen=True):
    """`listed_at`: AWS's clock, by which ages are counted. `layers` by the image's digest, where asked for. `next`:
    where the next part of the run begins; None: there is no more to look up."""

    plan: RetentionPlan
    listed_at: datetime
    policy_version: int
    layers: Mapping[str, tuple[Layer, ...]] = {}
    next: str | None = None


def plan_retention(
    repository: Repository,
    house: RetentionHouse,
    *,
    with_layers: bool = False,
    rules: Rules | None = None,
    start: str = "",
    gone: int = 0,
) -> Planned:
    """`with_layers`: where something would go, all manifests are read for what they weigh, a call for each hundred
    images; the plan is the same without. `start`: the `next` of the plan before in this run, in which so many are
    `gone` by now. Raises AbsentError (`repository`) and whatever keeps the repository from being listed."""
    rules = rules or house.rules.fresh()
    listed = house.keeper.images(repository)
    if listed.absent:
        raise AbsentError("repository", f"{repository.path} is not there")
    headers = {header.ref.digest: header for header in house.table.headers_of(repository)}
    insides = _insides(repository, _unread_indexes(listed, headers), house)
    judged = _judged(repository, listed, insides, headers, rules)
    if judged.candidates:
        found = house.table.read_headers([repository.image(digest) for digest in judged.candidates])
        headers |= {ref.digest: stored.header for ref, stored in found.items()}
        judged = _judged(repository, listed, insides, headers, rules)
    some, following = _part(judged, start)
    uses = look_up_uses(repository, [f.image for f in judged.fates], some, house)
    missing = _missing(repository, [d for d, use in uses.items() if use.state is InUseState.NO], house)
    passed = [digest for leader, digests in judged.groups if leader <= start for digest in digests]
    plan = settle(judged, uses, missing, passed, gone)
    layers = _layers(repository, listed, house) if with_layers and plan.wanted else {}
    return Planned(plan, listed.listed_at, rules.policy_version, layers, following)


def look_up_uses(
    repository: Repository, images: Sequence[RetainedImage], digests: Collection[str], house: RetentionHouse
) -> dict[str, InUse]:
    """Who runs these of all the `images` of the repository, looked up now."""
    known = {image.digest: image for image in images}
    inner = {image.digest: within(image.digest, known) for image in images if image.contains}
    subjects = {digest: _subject(repository, known[digest], known, inner) for digest in sorted(digests)}
    return {digest: house.runtime.in_use(subject) for digest, subject in subjects.items()}


def _part(judged: Judged, start: str) -> tuple[tuple[str, ...], str | None]:
    """The candidates to look up now, whole groups, and where the next part begins; a group is never parted."""
    some: list[str] = []
    last: str | None = None
    for leader, digests in judged.groups:
        if leader <= start:
            continue
        if some and len(some) + len(digests) > MOST_LOOKED_UP:
            return tuple(some), last
        some += digests
        last = leader
    return tuple(some), None


def _judged(
    repository: Repository,
    listed: ImagesListed,
    insides: Mapping[str, Inside],
    headers: Mapping[str, Header],
    rules: Rules,
) -> Judged:
    now = listed.listed_at
    images = [retained_image(i, insides.get(d), headers.get(d), rules, now) for d, i in listed.images.items()]
    return judge(repository, images, rules.policy.retention, now)


def _layers(repository: Repository, listed: ImagesListed, house: RetentionHouse) -> Mapping[str, tuple[Layer, ...]]:
    insides = _insides(repository, listed.images, house)
    return {digest: inside.layers for digest, inside in insides.items() if inside.layers is not None}


def _unread_indexes(listed: ImagesListed, headers: Mapping[str, Header]) -> set[str]:
    """A manifest never changes: what the table knows of an index is not read again."""
    return {digest for digest, image in listed.images.items() if _is_unread_index(image, headers.get(digest))}


def _insides(repository: Repository, digests: Collection[str], house: RetentionHouse) -> Mapping[str, Inside]:
    if not digests:
        return {}
    try:
        return house.keeper.insides(repository, digests)
    except TransientError:
        raise
    except UpstreamError:
        return {}


def _is_unread_index(image: ImageDetail, header: Header | None) -> bool:
    return image.media_type in INDEX_MEDIA_TYPES and (header is None or not header.children)


def _subject(
    repository: Repository,
    image: RetainedImage,
    known: Mapping[str, RetainedImage],
    inner: Mapping[str, Collection[str]],
) -> Subject:
    """A platform's image runs where its index does, an index where any of its images does, on whatever level. `inner`:
    what each index holds."""
    held = {*inner.get(image.digest, ()), *(image.contains or ())}
    holders = {digest for digest, digests in inner.items() if image.digest in digests}
    indexes = {*holders, *image.parents, *({image.digest, *held} & inner.keys())}
    relatives = [known[d] for d in {*indexes, *held} if d in known]
    return Subject(
        ref=repository.image(image.digest),
        digests=frozenset({image.digest, *indexes, *held}),
        tags=frozenset(tag for one in (image, *relatives) for tag in one.tags),
        indexes=frozenset(indexes),
    )


def _missing(repository: Repository, digests: Sequence[str], house: RetentionHouse) -> dict[str, str] | None:
    """Why the copies of an image are not proven to be there. None: nobody could tell of any."""
    if not digests:
        return {}
    try:
        answers = {digest: house.replicas.missing(repository.image(digest)) for digest in digests}
    except TransientError:
        raise
    except UpstreamError:
        return None
    words = {True: "a copy that replication owes is not there", None: "nobody has looked yet for its replicas"}
    return {digest: words[answer] for digest, answer in answers.items() if answer is not False}


def has_rule(repository: Repository, rules: Rules) -> bool:
    """Whether any rule names the repository: where none does, nothing need be listed."""
    return rule_for(repository, rules.policy.retention) is not None
