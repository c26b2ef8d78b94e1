"""Everything that belongs to an image, as it lies in two repositories: children, referrers, theirs, and in which order.

It is found from both sides, so that a copy that was interrupted, or a deletion, is seen whole by the next call.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from graphlib import TopologicalSorter

import msgspec

from chalicelib.adapters.ecr.images import EcrImages, HeldManifest
from chalicelib.domain.images.image import Repository, StorageStatus
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.parsers.images.manifest_blobs import Blob


class Side(msgspec.Struct, frozen=True):
    """A manifest as it lies in one repository, with its tags there."""

    manifest: HeldManifest
    tags: tuple[str, ...]


class ImagePart(msgspec.Struct, frozen=True):
    """One manifest of the closure; None: that side does not have it (the target: or has it archived)."""

    origin: Side | None
    target: Side | None

    @property
    def manifest(self) -> HeldManifest:
        side = self.origin or self.target
        assert side is not None
        return side.manifest


class Closure(msgspec.Struct, frozen=True):
    """`parts` by digest, each after all that it needs: an index after its children, a referrer after its subject."""

    root: str
    parts: dict[str, ImagePart]

    @property
    def blobs(self) -> dict[str, Blob]:
        return {blob.digest: blob for part in self.parts.values() for blob in part.manifest.blobs}

    def with_referrers(self, members: Iterable[str]) -> list[str]:
        """The image, those of `members` that belong to it, and what refers to them, in the order in which they may be
        deleted: an index before its children, what refers to them last."""
        named = self.parts.keys() & members
        going = [self.root, *(digest for digest in reversed(self.parts) if digest in named and digest != self.root)]
        for digest, part in self.parts.items():
            if part.manifest.subject in going and digest not in going:
                going.append(digest)
        return going


def find_closure(images: EcrImages, root: str, origin: Repository, target: Repository) -> Closure:
    """Raises AbsentError where the image itself is on neither side, UpstreamError where a part of it is not, or is
    archived at `origin`."""
    parts: dict[str, ImagePart] = {}
    pending = [root]
    while pending:
        here, there = _look(images, origin, pending, refuses_archived=True), _look(images, target, pending)
        for digest in pending:
            if digest not in here and digest not in there:
                raise _missing(digest, root, origin, target)
            parts[digest] = ImagePart(here.get(digest), there.get(digest))
        needed = {d for digest in pending for d in _beside(images, parts[digest], origin, target)}
        pending = sorted(needed - parts.keys())
    return Closure(root, _ordered(parts))


def _look(
    images: EcrImages, home: Repository, digests: Collection[str], refuses_archived: bool = False
) -> dict[str, Side]:
    """Described before it is read: reading what is not there would make a pull-through cache fetch it."""
    details = images.describe(home, digests)
    archived = [d for d, detail in details.items() if detail.storage is not StorageStatus.ACTIVE]
    if archived and refuses_archived:
        raise UpstreamError(f"{home.image(archived[0])} is archived, or being restored: only ACTIVE images are copied")
    manifests = images.read(home, details.keys() - archived)
    return {digest: Side(manifest, details[digest].tags) for digest, manifest in manifests.items()}


def _beside(images: EcrImages, part: ImagePart, origin: Repository, target: Repository) -> Iterator[str]:
    yield from part.manifest.children
    for home, side in ((origin, part.origin), (target, part.target)):
        if side is not None:
            yield from images.referrers(home, side.manifest.digest)


def _ordered(parts: dict[str, ImagePart]) -> dict[str, ImagePart]:
    needs: dict[str, set[str]] = {}
    for digest, part in sorted(parts.items()):
        before = {*part.manifest.children, part.manifest.subject or ""}
        needs[digest] = before & parts.keys()
    return {digest: parts[digest] for digest in TopologicalSorter(needs).static_order()}


def _missing(digest: str, root: str, origin: Repository, target: Repository) -> UpstreamError:
    if digest == root:
        return AbsentError("image", f"{origin.image(root)} is not there, nor is it in {target.path}")
    return UpstreamError(f"{origin.image(root)} needs {digest}, which is neither there nor in {target.path}")
