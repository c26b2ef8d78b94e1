"""Images moved to their quarantine repository and brought back: what is copied when, verified, and only then deleted.

This is the one place that deletes images, and only such as it has just verified in the quarantine repository; there,
nothing is ever deleted. Every call looks at both sides and does what is missing, so that it may be stopped anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from chalicelib.adapters.ecr.blobs import PART_BYTES, EcrBlobs
from chalicelib.adapters.ecr.closure import Closure, ImagePart, find_closure
from chalicelib.adapters.ecr.copy_time import CopyTime
from chalicelib.adapters.ecr.images import EcrImages
from chalicelib.adapters.ecr.quarantine_lock import QuarantineLock
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.quarantine_place import bare_mark, given_tags, is_place, kept_tag
from chalicelib.errors import AbsentError, TransientError, UnfinishedError, UpstreamError
from chalicelib.parsers.images.manifest_blobs import Blob

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

GOES_ON_AFTER_SECONDS = 5
NAMED = 3
Tags = Mapping[str, Sequence[str]]


class EcrMover:
    """`client_of` gives the ECR client of an account and a Region. `exempt_arns`: for whom a quarantine repository is
    not locked, our roles. `deadline_seconds`: for how long one call copies at most.
    """

    def __init__(
        self,
        client_of: Callable[[str, str], ECRClient],
        exempt_arns: Sequence[str],
        deadline_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._images, self._blobs = EcrImages(client_of), EcrBlobs(client_of, part_bytes)
        self._lock = QuarantineLock(client_of, exempt_arns)
        self._deadline_seconds, self._clock = deadline_seconds, clock

    def move(self, ref: ImageRef, place: Repository, members: Sequence[ImageRef], tags: Container[str]) -> None:
        """Everything that belongs to the image is copied to `place`, its tags as `quarantine_place` says; once all of
        it is verified there, the image is deleted, then those of its children that are `members`, then what refers to
        them. A child that has a tag of its own stays, as people know it by that, and so does one that ECR keeps because
        another index needs it, with what refers to it. Done already is success.

        `tags`: those that the image is known to have. One that it got since would be given back by nobody.

        Raises TransientError (more to copy than time, or something came meanwhile: call again), AbsentError (the image
        is on neither side), DeniedError, UpstreamError (what cannot be copied, locked or verified). Then nothing is
        deleted by this call.
        """
        _check(ref, place)
        what, time_left = f"move {ref}", CopyTime(self._deadline_seconds, self._clock)
        closure = find_closure(self._images, ref.digest, ref.home, place)
        _check_known(closure, ref, tags)
        named = _untagged(closure, members)
        self._lock.keep(place, ref.home)
        self._copy(closure, ref.home, place, _tags_to_keep(closure, named), time_left, what)
        # Copying takes long enough for somebody to push a signature or a tag: what is deleted is what is there now.
        closure = find_closure(self._images, ref.digest, ref.home, place)
        named = _untagged(closure, members)
        self._verify(closure, ref.home, place, _tags_to_keep(closure, named), what)
        _check_known(closure, ref, tags)
        self._delete(closure, ref, closure.with_referrers(named))

    def bring_back(
        self, ref: ImageRef, place: Repository, tags: Sequence[str], is_its: Callable[[ImageRef, str], bool]
    ) -> None:
        """The copy in `place`, which stays there, is copied to where it was and verified; then the image gets `tags`,
        its referrers those of the tags they are kept with that are still theirs, as `is_its` says. Its children get
        none: they had none when they went along, and what the place keeps of an earlier move is not theirs any more.
        A tag that points at another image by now is left there, without an error: whoever moved it meant it, and the
        image can be had by its digest as before.

        Raises as `move` does, and AbsentError(`repository`) where the image's repository is gone.
        """
        _check(ref, place)
        what, time_left = f"bring back {ref}", CopyTime(self._deadline_seconds, self._clock)
        closure = find_closure(self._images, ref.digest, place, ref.home)
        self._copy(closure, place, ref.home, {}, time_left, what)
        closure = find_closure(self._images, ref.digest, place, ref.home)
        self._verify(closure, place, ref.home, {}, what)
        for digest, part in closure.parts.items():
            for tag in tags if digest == ref.digest else _tags_kept(part, ref.home, is_its):
                # Asked just before it is put: a repository with mutable tags would take it from whoever has it.
                if self._images.holder(ref.home, tag) is None:
                    _go_on_in_time(time_left, f"{what}: not all of its tags are given back yet")
                    self._images.put(ref.home, part.manifest, tag)
                    time_left.steps += 1

    # ---- copies

    def _copy(
        self, closure: Closure, origin: Repository, target: Repository, tags: Tags, time_left: CopyTime, what: str
    ) -> None:
        there = dict(self._blobs.available(target, closure.blobs))
        left = self._left_out(closure, origin)
        for digest, part in closure.parts.items():
            for blob in part.manifest.blobs:
                if part.origin is not None and blob.digest not in there and blob.digest not in left:
                    self._copy_blob(blob, origin, target, time_left, f"{what}: {_progress(closure, there)}")
                    there[blob.digest] = blob.size_bytes
            untagged: list[str | None] = [None] if part.target is None else []
            for tag in tags.get(digest) or untagged:
                _go_on_in_time(time_left, f"{what}: {_progress(closure, there)}")
                self._images.put(target, part.manifest, tag)
                time_left.steps += 1

    def _copy_blob(
        self, blob: Blob, origin: Repository, target: Repository, time_left: CopyTime, progress: str
    ) -> None:
        """Parts that were sent do not outlive the call: a blob that takes longer than one will never be there."""
        since, is_first = time_left.now(), not time_left.steps
        if time_left.suffices_for(blob.size_bytes) and self._blobs.copy(blob, origin, target, time_left.is_over):
            time_left.took(blob.size_bytes, since)
            return
        if is_first and time_left.now() - since > time_left.seconds / 2:
            raise UpstreamError(
                f"{progress}; the layer {blob.digest} of {blob.size_bytes:,} bytes cannot be copied within the "
                f"{time_left.seconds:g} s of one call: the image is too large for the method `move`; nothing is deleted"
            )
        error = TransientError if is_first else UnfinishedError
        raise error(f"{progress}; goes on", GOES_ON_AFTER_SECONDS)

    def _left_out(self, closure: Closure, origin: Repository) -> set[str]:
        """Foreign layers that the origin does not have either."""
        foreign = {digest for digest, blob in closure.blobs.items() if blob.foreign}
        try:
            return foreign - self._blobs.available(origin, foreign).keys()
        except AbsentError:
            return foreign

    # ---- proof

    def _verify(self, closure: Closure, origin: Repository, target: Repository, tags: Tags, what: str) -> None:
        """`closure` was read after the copying, each manifest against its digest; `tags` are still to be put."""
        layers, left = self._blobs.available(target, closure.blobs), self._left_out(closure, origin)
        lacking = [f"the manifest {digest}" for digest, part in closure.parts.items() if part.target is None]
        lacking += [f"the tag {tag}" for some in tags.values() for tag in some]
        lacking += [f"the layer {digest}" for digest in closure.blobs if digest not in layers and digest not in left]
        if lacking:
            more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
            text = f"{what}: {target.path} lacks {', '.join(lacking[:NAMED])}{more}; nothing is deleted"
            raise TransientError(text, GOES_ON_AFTER_SECONDS)
        for digest, blob in closure.blobs.items():
            if layers.get(digest, blob.size_bytes) != blob.size_bytes:
                said = f"the layer {digest} of {blob.size_bytes} bytes (there it has {layers[digest]})"
                raise UpstreamError(f"{what}: {target.path} lacks {said}; nothing is deleted")

    def _delete(self, closure: Closure, ref: ImageRef, going: Sequence[str]) -> None:
        """`going` are parts of the closure, which was verified; the image itself is the first of them, and each comes
        before what refers to it."""
        kept = set[str]()
        for digest in going:
            part = closure.parts[digest]
            if part.manifest.subject in kept:
                kept.add(digest)
            elif part.origin is not None and not self._images.delete(ref.home, digest):
                if digest == ref.digest:
                    raise UpstreamError(f"move {ref}: an index of its repository still needs it; nothing is deleted")
                kept.add(digest)


def _untagged(closure: Closure, members: Sequence[ImageRef]) -> set[str]:
    """The image's tags are kept with its quarantine, those of a child with nothing: nobody could tell which of them are
    to be given back."""
    origins = {m.digest: closure.parts[m.digest].origin for m in members if m.digest in closure.parts}
    return {digest for digest, origin in origins.items() if origin is None or not origin.tags}


def _tags_to_keep(closure: Closure, members: Collection[str]) -> dict[str, list[str]]:
    """What is not in the place yet. Of a child that stays where it is, the tags stay there as well."""
    going = set(closure.with_referrers(members))
    wanted: dict[str, list[str]] = {}
    for digest, part in closure.parts.items():
        there = part.target.tags if part.target else ()
        given = part.origin.tags if part.origin and digest in going else ()
        tags = [kept_tag(digest, tag) for tag in sorted(given)] or ([] if there else [bare_mark(digest)])
        wanted[digest] = [tag for tag in tags if tag not in there]
    return wanted


def _tags_kept(part: ImagePart, home: Repository, is_its: Callable[[ImageRef, str], bool]) -> Iterator[str]:
    if part.origin is None or part.manifest.subject is None:
        return
    image = home.image(part.manifest.digest)
    yield from (tag for tag in given_tags(image.digest, part.origin.tags) if is_its(image, tag))


def _go_on_in_time(time_left: CopyTime, what: str) -> None:
    """A call that has not done anything yet always does something."""
    if time_left.is_over() and time_left.steps:
        raise UnfinishedError(f"{what}; goes on", GOES_ON_AFTER_SECONDS)


def _check(ref: ImageRef, place: Repository) -> None:
    if ref.home.public or is_place(ref.repository) or not is_place(place.name):
        raise UpstreamError(f"{ref} cannot be moved to {place.path}: only from a private repository to a quarantine's")
    if (place.registry, place.region) != (ref.registry, ref.region):
        raise UpstreamError(f"{ref} cannot be moved to {place.path}: that is another registry or Region")


def _check_known(closure: Closure, ref: ImageRef, tags: Container[str]) -> None:
    origin = closure.parts[ref.digest].origin
    new = sorted(tag for tag in origin.tags if tag not in tags) if origin else []
    if new:
        text = f"move {ref}: it got the tag {', '.join(new[:NAMED])} meanwhile; nothing is deleted"
        raise TransientError(text, GOES_ON_AFTER_SECONDS)


def _progress(closure: Closure, there: Collection[str]) -> str:
    blobs = closure.blobs.values()
    done = sum(blob.size_bytes for blob in blobs if blob.digest in there)
    return f"{done:,} of {sum(blob.size_bytes for blob in blobs):,} bytes copied so far"
