"""Look up who runs what retention would take: some groups at a time, within the time there is. Nothing is decided here.

What is only attached to an image (a signature, an SBOM, an attestation) is used where that image is, and is not asked
about: a cluster of EKS costs a call for each digest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.images.image import InUse, InUseState, Repository
from chalicelib.domain.retention.image import RetainedImage, within
from chalicelib.domain.retention.retention import JudgedRepository
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.registry import Subject

MOST_LOOKED_UP = 100
"""Images that are asked about for one plan: what is beyond stays, and counts for the limits."""
LEAST = timedelta(seconds=5)
"""However late it is by then: a run that never looks never ends."""
NO_TIME = InUse(InUseState.UNKNOWN, blind=("there was no time to look for all that goes together",))
_WORST = (InUseState.YES, InUseState.UNKNOWN, InUseState.NO)

Group = tuple[str, tuple[str, ...]]


class LookedUp(msgspec.Struct, frozen=True):
    """`uses` by digest. `next`: the group after which the next part begins, None: there is no more. `in_time`: it ended
    because enough were looked up, not because the time was up."""

    uses: Mapping[str, InUse]
    next: str | None = None
    in_time: bool = True


def find_image_uses(judged: JudgedRepository, start: str, context: Context, until: datetime | None = None) -> LookedUp:
    """Of the groups that come after `start`: at least one, and never a part of one. `until`: when it ends; a first
    group that takes longer is UNKNOWN, so that the next part gets further. None: it takes as long as it takes."""
    until = max(until, context.clock.now() + LEAST) if until is not None else None
    asking = _Asking(judged.repository, [decision.image for decision in judged.decisions], context)
    part, following = _part(judged, start, asking)
    uses: dict[str, InUse] = {}
    last: str | None = None
    for leader, digests in part:
        found = asking.group(digests, until)
        if found is None and last is not None:
            return LookedUp(uses, last, in_time=False)
        uses |= found or dict.fromkeys(digests, NO_TIME)
        last = leader
    return LookedUp(uses, following)


def coming(judged: JudgedRepository, start: str, context: Context) -> tuple[str, ...]:
    """The digests that `find_image_uses` comes to, where it has the time."""
    asking = _Asking(judged.repository, [decision.image for decision in judged.decisions], context)
    return tuple(digest for _, digests in _part(judged, start, asking)[0] for digest in digests)


def _part(judged: JudgedRepository, start: str, asking: _Asking) -> tuple[Sequence[Group], str | None]:
    """The groups of this part, and after which one the next part begins."""
    part: list[Group] = []
    asked = 0
    for leader, digests in judged.groups:
        if leader <= start:
            continue
        asked += len(asking.means(digests))
        if part and asked > MOST_LOOKED_UP:
            return part, part[-1][0]
        part.append((leader, digests))
    return part, None


def uses_of(
    repository: Repository, images: Sequence[RetainedImage], digests: Collection[str], context: Context
) -> dict[str, InUse]:
    """Who runs these of all the `images` of the repository, looked up now, however long it takes."""
    asking = _Asking(repository, images, context)
    return {digest: asking.use(digest) for digest in sorted(digests)}


class _Asking:
    """One repository, and whom of it was asked about already."""

    def __init__(self, repository: Repository, images: Sequence[RetainedImage], context: Context) -> None:
        self._repository, self._context = repository, context
        self._known = {image.digest: image for image in images}
        self._inner = {image.digest: within(image.digest, self._known) for image in images if image.contains}
        self._holders: dict[str, list[str]] = {}
        for index in sorted(self._inner):
            for digest in self._inner[index]:
                self._holders.setdefault(digest, []).append(index)
        self._attached: dict[str, set[str]] = {}
        for image in images:
            for digest in self._stands_for(image.digest) if image.attached else ():
                self._attached.setdefault(digest, set()).add(image.digest)
        self._uses: dict[str, InUse] = {}

    def means(self, digests: Collection[str]) -> frozenset[str]:
        """Those that have to be asked about to know of all of these."""
        return frozenset(one for digest in digests for one in self._stands_for(digest))

    def group(self, digests: Collection[str], until: datetime | None) -> dict[str, InUse] | None:
        """None: there was no time for all of it."""
        for one in sorted(self.means(digests) - self._uses.keys()):
            if until is not None and self._context.clock.now() >= until:
                return None
            self._ask(one)
        return {digest: self.use(digest) for digest in digests}

    def use(self, digest: str) -> InUse:
        """The worst of all that it stands and falls with."""
        found = [self._ask(one) for one in self._stands_for(digest)]
        return min(found, key=lambda use: _WORST.index(use.state))

    def _ask(self, digest: str) -> InUse:
        if digest not in self._uses:
            self._uses[digest] = self._context.runtime.in_use(self._subject(self._known[digest]))
        return self._uses[digest]

    def _stands_for(self, digest: str) -> tuple[str, ...]:
        """What is attached stands for its subject, or the indexes that hold it, where they are still there."""
        found: set[str] = set()
        waiting, seen = [digest], {digest}
        while waiting:
            image = self._known[waiting.pop()]
            above = [image.subject] if image.subject in self._known else self._holders.get(image.digest, [])
            above = [one for one in above if one is not None and one not in seen] if image.attached else []
            seen.update(above)
            waiting += above
            if not above:
                found.add(image.digest)
        return tuple(sorted(found))

    def _subject(self, image: RetainedImage) -> Subject:
        """A platform's image runs where its index does, an index where any of its images does, on whatever level."""
        held = {*self._inner.get(image.digest, ()), *(image.contains or ())}
        indexes = {*self._holders.get(image.digest, ()), *image.parents, *({image.digest, *held} & self._inner.keys())}
        inside = {one for one in held if one in self._known and self._known[one].attached}
        attached = {*self._attached.get(image.digest, ()), *inside}
        if image.attached:
            attached = {*attached, image.digest, *indexes, *([image.subject] if image.subject else [])}
        relatives = [self._known[d] for d in {*indexes, *held, *attached} if d in self._known]
        return Subject(
            ref=self._repository.image(image.digest),
            digests=frozenset({image.digest, *indexes, *held} - attached),
            tags=frozenset(tag for one in (image, *relatives) for tag in one.tags),
            indexes=frozenset(indexes - attached),
            attached=frozenset(attached),
        )
