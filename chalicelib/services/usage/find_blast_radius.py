"""Find out whether an image runs, by each digest and tag it may have been started by, what else hangs on it before it
is taken away. Nothing is decided and nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import MOST_RELATED, InUse, InUseState, Kind
from chalicelib.domain.usage.blast_radius import LAST_PULL, BlastRadius, IndexTags, Line, NewerTag
from chalicelib.errors import AbsentError, DeniedError, LazarettoError, TransientError
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.registry import Subject


def find_use(
    header: Header,
    context: Context,
    *,
    whole: bool = False,
    images: Collection[str] | None = (),
    tags: Collection[str] = (),
    since: datetime | None = None,
) -> InUse:
    """Looked up now, by looks that were begun at or after `since`. A platform's image runs where its index does, an
    index where any of its images does; `whole`: whatever runs any image of the repository counts, and each of `images`
    is asked about, all that can be pulled from it by digest (None: more than could be listed). `tags`: those that
    the registry names the image by now; those of its indexes and images are asked for, because a tag may have moved
    before an event told of it. Raises what the table raises; places that fail are `blind`."""
    subject = subject_of(header, relatives_of(header, context), whole=whole)
    unread: list[str] = [] if images is not None else [TOO_MANY]
    others = subject.digests - {header.ref.digest} if not whole else ()
    named = _tried(TAGS_NOW, lambda: context.registry.tags_now(header.ref.home, others), unread) if others else None
    if whole and images is not None:
        subject = _of_images(subject, images, context)
    asked = msgspec.structs.replace(subject, tags=subject.tags | frozenset(tags) | (named or frozenset()))
    use = context.runtime.in_use(asked, since)
    if not unread:
        return use
    state = InUseState.UNKNOWN if use.state is InUseState.NO else use.state
    return msgspec.structs.replace(use, state=state, blind=(*use.blind, *unread))


def find_running(header: Header, context: Context) -> InUse:
    """Whether the digest itself runs, its index or one of its images: looked up now, as `find_use` does, but nothing is
    believed of a tag. Who moves one to a new image makes that no image that runs."""
    subject = subject_of(header, relatives_of(header, context))
    return context.runtime.in_use(msgspec.structs.replace(subject, tags=frozenset(), pinned=True))


def _of_images(subject: Subject, images: Collection[str], context: Context) -> Subject:
    """What each is, as far as it is known: no scanner knows an index or what goes with an image."""
    kinds = {one.ref.digest: one.kind for one in context.table.headers_of(subject.ref.home)}
    attached = frozenset(digest for digest in images if kinds.get(digest) is Kind.ARTIFACT)
    return msgspec.structs.replace(
        subject,
        digests=frozenset(images) - attached,
        indexes=frozenset(digest for digest in images if kinds.get(digest) is Kind.INDEX),
        attached=attached,
    )


def relatives_of(header: Header, context: Context) -> Sequence[Header]:
    """The headers of all indexes that hold it, directly or by another, and of all images below it, as far as they are
    known: one read for each level, none where it has none."""
    found: dict[str, Header] = {}
    above, below = dict.fromkeys(header.parents), dict.fromkeys(_images(header))
    while (above or below) and len(found) < 2 * MOST_RELATED:
        refs = [header.ref.home.image(digest) for digest in above | below]
        stored = {ref.digest: one.header for ref, one in context.table.read_headers(refs).items()}
        found |= stored
        above = dict.fromkeys(d for one in above if one in stored for d in stored[one].parents if d not in found)
        below = dict.fromkeys(d for one in below if one in stored for d in _images(stored[one]) if d not in found)
    return list(found.values())


def subject_of(header: Header, relatives: Sequence[Header], *, whole: bool = False) -> Subject:
    """`relatives`: as `relatives_of` gives them. One that was deleted has no tags, but may run by its digest still."""
    known = {one.ref.digest: one for one in relatives}
    above = _reached(header.parents, known, lambda index: index.parents)
    below = _reached(_images(header), known, _images)
    indexes = {*above, *(r.ref.digest for r in relatives if r.kind is Kind.INDEX)}
    if header.kind is Kind.INDEX:
        indexes.add(header.ref.digest)
    tags = [tag for one in (header, *relatives) if one.exists or one is header for tag in one.tags]
    return Subject(
        ref=header.ref,
        digests=frozenset({header.ref.digest, *above, *below}),
        tags=frozenset(tags),
        whole=whole,
        indexes=frozenset(indexes),
    )


def _reached(first: Sequence[str], known: Mapping[str, Header], of: Callable[[Header], Iterable[str]]) -> set[str]:
    found, left = set(first), list(first)
    while left:
        one = known.get(left.pop())
        further = set(of(one)) - found if one is not None else set()
        found |= further
        left += further
    return found


def _images(header: Header) -> list[str]:
    return [child.digest for child in header.children]


TAGS_NOW = "the tags of its indexes and images"
TOO_MANY = "the images of its repository: there are too many"
HEADERS_READ = 5000
WALKED_FOR = timedelta(seconds=5)
T = TypeVar("T")


def find_blast_radius(header: Header, context: Context) -> BlastRadius:
    """Never raises for a look-up that fails: that part stays empty and is named in `unknown`.

    Costs one look at what runs (kept for a minute), one DescribeImages, one read of the headers of its indexes and
    images, and a walk over its repository for a newer tag: 0.13 read units an image, at most 5,000 images and five
    seconds. (No index has a repository's images by their push; that of all images has other repositories' between.)
    """
    unknown: list[str] = []
    relatives = _tried("its indexes and images", lambda: relatives_of(header, context), unknown)
    known = relatives or ()
    indexes = tuple(
        IndexTags(one.ref.digest, one.tags) for one in known if one.ref.digest in header.parents and one.exists
    )
    newer, why_none = _tried(
        "newer tags of its line", lambda: _walked(header, known, indexes, context, unknown), unknown
    ) or (None, "")
    return BlastRadius(
        in_use=InUse() if relatives is None else context.runtime.in_use(subject_of(header, known)),
        last_pulled_at=_last_pull(header, context, unknown),
        tags=header.tags,
        indexes=indexes,
        newer=newer,
        why_none=why_none,
        unknown=tuple(unknown),
    )


def _last_pull(header: Header, context: Context, unknown: list[str]) -> datetime | None:
    """The newest that is known; a registry that does not have the image (any more) knows no later one."""
    try:
        told = context.registry.describe_image(header.ref).last_pulled_at
    except AbsentError:
        told = None
    except LazarettoError as error:
        unknown.append(f"{LAST_PULL}: {_why(error)}")
        told = None
    return max((at for at in (told, header.pulled_at) if at is not None), default=None)


def _walked(
    header: Header, relatives: Sequence[Header], indexes: Sequence[IndexTags], context: Context, unknown: list[str]
) -> tuple[NewerTag | None, str]:
    """The newest clean one, or why there is none. Of a repository that is not read to its end the newest of those that
    were, and no reason: "no newer tag" would not be known."""
    tags = [*header.tags, *(tag for index in indexes for tag in index.tags)]
    line = Line(header, tags, frozenset({header.ref.digest, *(one.ref.digest for one in relatives)}))
    until = context.clock.now() + WALKED_FOR
    for number, other in enumerate(context.table.headers_of(header.ref.home)):
        if number >= HEADERS_READ or context.clock.now() >= until:
            unknown.append(f"newer tags of its line: the repository holds more images than the {number} looked at")
            return line.newer, ""
        line.see(other)
    return line.newer, line.why_none


def _tried(what: str, look_up: Callable[[], T], unknown: list[str]) -> T | None:
    try:
        return look_up()
    except LazarettoError as error:
        unknown.append(f"{what}: {_why(error)}")
        return None


def _why(error: LazarettoError) -> str:
    """What AWS says names accounts and roles: people are told what kind of failure it was."""
    if isinstance(error, DeniedError):
        return "access denied"
    return "no answer in time" if isinstance(error, TransientError) else "AWS did not answer as needed"
