"""Random repositories for retention: indexes, referrers, tags, pulls, restores, archives, quarantine and waivers.

A digest is made after what it holds, as in a registry: an index comes after its images, a referrer after its subject.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from chalicelib.domain.images.image import InUse, InUseState, Repository, StorageStatus
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import QUARANTINED, WAIVED, Guard, RetainedImage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOME = Repository("111122223333", "eu-west-1", "team/api")
TAGS = ("v1.0.0", "v1.0.1", "v1.1.0", "v2.0", "1.1.2", "latest", "prod", "prod-1", "beta-1", "beta-2", "main", "rc")
GLOBS = ("v*", "prod*", "latest", "*-1", "v1.*", "beta-2")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def retained(number: int, *tags: str, days: float = 0.0, **more: Any) -> RetainedImage:
    """Pushed so many days ago."""
    pushed_at = NOW - timedelta(days=days)
    attached = more.get("subject") is not None
    facts = {"pushed_at": pushed_at, "attached": attached, **more}
    return RetainedImage(digest=digest(number), tags=tuple(sorted(tags)), **facts)


def retention(**more: Any) -> Retention:
    """As a policy file would say it."""
    return msgspec.convert({"repository": "*", **more}, Retention)


@st.composite
def repositories(draw: st.DrawFn, *, plain: bool = False, most: int = 12) -> list[RetainedImage]:
    """`plain`: only what ECR itself knows of an image: no guards, nothing that it cannot read, and what refers to an
    image belongs to it."""
    images: list[RetainedImage] = []
    free = list(draw(st.permutations(TAGS)))
    for number in range(1, draw(st.integers(0, most)) + 1):
        tags = [free.pop() for _ in range(draw(st.integers(0, min(3, len(free)))))]
        images.append(draw(_image(number, tags, images, plain)))
    return images


@st.composite
def _image(draw: st.DrawFn, number: int, tags: list[str], former: list[RetainedImage], plain: bool) -> RetainedImage:
    kind = draw(st.sampled_from(("image", "image", "image", "index", "referrer")))
    hours = draw(st.integers(0, 24 * 40))
    pushed_at = NOW - timedelta(hours=hours)
    pulled_at = draw(st.none() | st.integers(0, hours).map(lambda h: NOW - timedelta(hours=h)))
    restored = draw(st.booleans()) and draw(st.booleans())
    activated_at = NOW - timedelta(hours=draw(st.integers(0, hours))) if restored else None
    storage = StorageStatus.ACTIVE
    if draw(st.integers(0, 9)) == 0:
        storage = draw(st.sampled_from((StorageStatus.ARCHIVED, StorageStatus.ACTIVATING)))
    contains: tuple[str, ...] | None = ()
    subject = None
    if kind == "index" and former:
        held = draw(st.lists(st.sampled_from(former), min_size=1, max_size=3, unique_by=lambda i: i.digest))
        contains = tuple(sorted(image.digest for image in held))
    if kind == "referrer" and former:
        told = draw(st.sampled_from(former))
        subject, tags, storage = told.digest, [], told.storage
    if not plain and kind == "index" and draw(st.integers(0, 19)) == 0:
        contains = None
    guard = None if plain else draw(_guards)
    return RetainedImage(
        digest=digest(number),
        tags=tuple(sorted(tags)),
        pushed_at=pushed_at,
        pulled_at=pulled_at,
        activated_at=activated_at,
        archived_at=pushed_at if storage is StorageStatus.ARCHIVED else None,
        storage=storage,
        size_bytes=number * 1000,
        contains=contains,
        subject=subject,
        guard=guard,
        attached=subject is not None and (plain or draw(st.booleans())),
    )


_guards = st.sampled_from((None,) * 8 + (Guard(QUARANTINED, "held"), Guard(WAIVED, "waived by w-1")))


@st.composite
def rules(draw: st.DrawFn, **more: Any) -> Retention:
    """Any rule: small numbers, so that something goes."""
    some = {
        "newest": st.integers(0, 4),
        "pulled_within_days": st.integers(0, 30),
        "pushed_within_days": st.integers(0, 30),
        "tag": st.sampled_from(GLOBS)
        | st.lists(st.sampled_from((*GLOBS, "!v1.0.1")), min_size=1, max_size=3).map(tuple),
        "newest_per_minor": st.integers(0, 2),
    }
    names = draw(st.lists(st.sampled_from(sorted(some)), min_size=1, max_size=3, unique=True))
    said: dict[str, Any] = {"keep": {name: draw(some[name]) for name in names}, "max_share": 1.0}
    if draw(st.booleans()):
        said["untagged_after_days"] = draw(st.integers(0, 20))
    said["action"] = draw(st.sampled_from(("expire", "archive")))
    return retention(**{**said, **more})


@st.composite
def sayable(draw: st.DrawFn) -> Retention:
    """A rule that a native policy can say."""
    action = draw(st.sampled_from(("expire", "archive")))
    count = draw(
        st.sampled_from(("newest", "pushed_within_days", *(["pulled_within_days"] if action == "archive" else [])))
    )
    number = draw(st.integers(1, 5 if count == "newest" else 30))
    days = number if count == "pulled_within_days" else draw(st.integers(1, 20))
    keep: dict[str, Any] = {count: number}
    if globs := draw(st.lists(st.sampled_from(GLOBS), max_size=3)):
        keep["tag"] = globs
    return retention(keep=keep, untagged_after_days=days, action=action, max_share=1.0)


def idle(*digests: str) -> dict[str, InUse]:
    """Every place was looked at, and none runs them."""
    return {one: InUse(InUseState.NO, looked=True) for one in digests}


def uses(digests: tuple[str, ...]) -> st.SearchStrategy[dict[str, InUse]]:
    """Some run, of some nobody can tell, some were not looked up."""
    states = st.sampled_from((InUseState.NO, InUseState.NO, InUseState.YES, InUseState.UNKNOWN, None))
    return st.lists(states, min_size=len(digests), max_size=len(digests)).map(
        lambda found: {d: InUse(s, looked=True) for d, s in zip(digests, found, strict=True) if s is not None}
    )
