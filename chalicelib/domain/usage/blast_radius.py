"""What hangs on one image: what people are told before it is taken away, and where to turn to instead. Pure.

What could not be looked up is empty *and* named in `unknown`: nothing here may be read as "nothing" without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.line import line_name
from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Kind, ScanState, StorageStatus
from chalicelib.domain.images.sanitize import sanitize
from chalicelib.domain.images.verdict import Decision

LAST_PULL = "the last pull"
NO_PUSH = "Which tags are newer cannot be told: nobody knows when this image was pushed"
NONE_NEWER = "This line has no newer tag"
SHOWN = 10
LONGEST = 160
_LONGEST_LINE = 1500


class IndexTags(msgspec.Struct, frozen=True):
    """An index that holds the image, and the tags it can be pulled by."""

    digest: str
    tags: tuple[str, ...] = ()


class NewerTag(msgspec.Struct, frozen=True):
    tag: str
    digest: str
    decision: Decision


class BlastRadius(msgspec.Struct, frozen=True):
    """`last_pulled_at` None: no pull is recorded, or `unknown` says that nobody could tell. `newer`: the newest image
    of its line that is clean, by its most exact tag; where `unknown` says that not all were looked at, the newest of
    those that were. None: `why_none` says why, as a sentence, or `unknown` does."""

    in_use: InUse = InUse()
    last_pulled_at: datetime | None = None
    tags: tuple[str, ...] = ()
    indexes: tuple[IndexTags, ...] = ()
    newer: NewerTag | None = None
    why_none: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """For people, harmless on any screen; escaping for one medium is that medium's business."""
        lines = [f"Running: {_running(self.in_use)}", f"Last pulled: {self._pulled}", f"Tags: {_some(self.tags)}"]
        if self.indexes:
            lines.append(f"In indexes: {_some(_index_words(one) for one in self.indexes)}")
        lines.append(f"Clean and newer: {self.newer.tag}" if self.newer else self.why_none)
        lines += [f"Could not be looked up: {what}" for what in self.unknown]
        return tuple(sanitize(line, _LONGEST_LINE) for line in lines if line)

    @property
    def _pulled(self) -> str:
        if self.last_pulled_at is not None:
            return f"{self.last_pulled_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        told = not any(what.startswith(LAST_PULL) for what in self.unknown)
        return "no pull is recorded" if told else "cannot be told"


class Line:
    """Reads the headers of a repository one by one, and keeps of the image's line the newest newer and the newest
    clean one. Needs no memory for the others.

    `tags` are those the image can be pulled by, its indexes' among them: a platform's image has none of its own, and
    what replaces it then is a newer index. `own`: the image, its indexes and its images, which replace nothing.
    """

    def __init__(self, header: Header, tags: Sequence[str], own: frozenset[str]) -> None:
        self._header, self._own = header, own
        self._line = line_name(tags)
        self._newest: Header | None = None
        self._clean: Header | None = None

    def see(self, other: Header) -> None:
        if not self._is_newer(other):
            return
        if self._newest is None or _order(other) > _order(self._newest):
            self._newest = other
        if _is_clean(other) and (self._clean is None or _order(other) > _order(self._clean)):
            self._clean = other

    @property
    def newer(self) -> NewerTag | None:
        return None if self._clean is None else self._named(self._clean)

    @property
    def why_none(self) -> str:
        if self._clean is not None:
            return ""
        if self._header.pushed_at is None:
            return NO_PUSH
        if self._newest is None:
            return NONE_NEWER
        newest = self._named(self._newest)
        return f"No newer tag of this line is clean: the newest, {sanitize(newest.tag, LONGEST)}, is {newest.decision}"

    def _is_newer(self, other: Header) -> bool:
        mine = self._header
        if mine.pushed_at is None or other.pushed_at is None or other.ref.digest in self._own:
            return False
        if other.kind is Kind.ARTIFACT or not other.exists or not other.tags or line_name(other.tags) != self._line:
            return False
        if mine.architecture and other.architecture and mine.architecture != other.architecture:
            return False
        return _order(other) > _order(mine)

    def _named(self, other: Header) -> NewerTag:
        """By the tag that says most: `v1.4.3` rather than `v1`."""
        tags = [tag for tag in other.tags if line_name([tag]) == self._line] or list(other.tags)
        return NewerTag(max(tags, key=lambda t: (t.count("."), len(t), t)), other.ref.digest, other.decision)


def _is_clean(header: Header) -> bool:
    """Nothing but a complete scan may be read as clean; an index has none, and is allowed when its images are."""
    scanned = header.kind is Kind.INDEX or header.scan.state is ScanState.COMPLETE
    return scanned and header.decision is Decision.ALLOW and header.storage is StorageStatus.ACTIVE


def _order(header: Header) -> tuple[datetime, ImageRef]:
    assert header.pushed_at is not None
    return header.pushed_at, header.ref


def _running(use: InUse) -> str:
    if use.state is InUseState.YES:
        return _some(use.by, "; ") if use.by else "yes, says Inspector"
    if use.state is InUseState.NO:
        return "nothing, in any place that can pull it"
    return f"cannot be told: {_some(use.blind, '; ')}" if use.blind else "cannot be told"


def _index_words(index: IndexTags) -> str:
    tags = f" ({_some(index.tags)})" if index.tags else " (untagged)"
    return index.digest[:19] + tags


def _some(texts: Iterable[str], between: str = ", ") -> str:
    """Each cut and made harmless by itself, so that a long one hides no other."""
    every = list(texts)
    shown = [sanitize(text, LONGEST) for text in every[:SHOWN]]
    rest = len(every) - len(shown)
    return between.join([*shown, f"and {rest} more"] if rest else shown) or "none"
