"""List both ends of a repository's replication, by as many messages as it takes.

Destinations come first and the source last, so that an image pushed in between is a copy on its way, and not one
without a source. What a message has listed is put aside for the next ones of its check: no end is listed twice, unless
AWS does not go on with a listing, or what was put aside is gone. Then it is begun anew, which is bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from chalicelib.domain.images.image import ImageDetail, Repository
from chalicelib.domain.replication.check_progress import MOST_BEGUN_ANEW, ListedEnd
from chalicelib.domain.replication.replica_case import Copies
from chalicelib.domain.replication.rules import Destination
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context

PATIENT_TRIES = 6
"""Some minutes: then a destination that does not answer is left out."""
MOST_PAGES = 1_000
"""More than any repository has: an answer that names the same next page for ever must end."""


class ListedEnds(msgspec.Struct, frozen=True):
    """By digest. `source` None: the repository is there no more. `at`: AWS's time of the source's first page."""

    copies: Mapping[Destination, Copies]
    source: Mapping[str, ImageDetail] | None
    at: datetime


def list_ends(
    home: Repository, ends: Collection[ListedEnd], tries: int, until: datetime, context: Context
) -> EndListing:
    """Goes on with `ends`, of which the source is last, until there is no time for more; with one page at least.
    `tries`: how often the message has come, from 0. Raises TransientError; UpstreamError where the source cannot be
    read."""
    listing = EndListing(home, ends, tries, context)
    listing.go_on(until)
    return listing


class EndListing:
    """Of one message."""

    def __init__(self, home: Repository, ends: Collection[ListedEnd], tries: int, context: Context) -> None:
        self._home, self._tries, self._context = home, tries, context
        self._ends = {end.destination: end for end in ends}
        self._listed: dict[Destination | None, dict[str, ImageDetail]] = {}

    @property
    def is_whole(self) -> bool:
        return all(end.whole for end in self._ends.values())

    def go_on(self, until: datetime) -> None:
        asked = False
        for place in self._ends:
            while not self._ends[place].whole:
                if asked and self._context.clock.now() >= until:
                    return
                self._ends[place] = self._further(self._ends[place])
                asked = True

    def put_aside(self) -> tuple[ListedEnd, ...]:
        """All that is listed by now. A message that dies has put it aside for nobody."""
        for place, images in self._listed.items():
            name = self._context.replicas.store_listing(self._at(place), images.values())
            end = self._ends[place]
            self._ends[place] = msgspec.structs.replace(end, names=(*end.names, name))
        self._listed.clear()
        return tuple(self._ends.values())

    def read(self) -> ListedEnds | None:
        """Of all that is listed, also by former messages. None: something of it is gone."""
        found: dict[Destination | None, dict[str, ImageDetail]] = {}
        for place, end in self._ends.items():
            found[place] = {}
            for name in end.names:
                part = self._context.replicas.stored_listing(self._at(place), name)
                if part is None:
                    return None
                found[place] |= part
            found[place] |= self._listed.get(place, {})
        copies = {
            place: Copies(self._at(place), found[place], unread=end.unread, down=end.down)
            for place, end in self._ends.items()
            if place is not None
        }
        source = self._ends[None]
        at = source.at or self._context.clock.now()
        return ListedEnds(copies, None if source.absent else found[None], at)

    def _at(self, place: Destination | None) -> Repository:
        return self._home if place is None else place.repository(self._home)

    def _further(self, end: ListedEnd) -> ListedEnd:
        """With one page more, or with why there is none."""
        try:
            return self._page(end)
        except AbsentError as error:
            self._listed.pop(end.destination, None)
            if error.what == "page":
                return self._anew(end, error)
            return msgspec.structs.replace(
                end, at=end.at or self._context.clock.now(), names=(), whole=True, absent=True
            )
        except TransientError as error:
            if end.destination is None or self._tries < PATIENT_TRIES:
                raise
            return self._unread(end, error, down=True)
        except UpstreamError as error:
            if end.destination is None:
                raise
            return self._unread(end, error)

    def _page(self, end: ListedEnd) -> ListedEnd:
        if end.pages >= MOST_PAGES:
            raise UpstreamError(f"list the images of {self._at(end.destination).path}: more than {MOST_PAGES} pages")
        page = self._context.replication.listing(self._at(end.destination), end.after)
        self._listed.setdefault(end.destination, {}).update(page.images)
        further = {"at": end.at or page.at, "after": page.after, "pages": end.pages + 1, "whole": page.after is None}
        return msgspec.structs.replace(end, **further)

    def _anew(self, end: ListedEnd, error: AbsentError) -> ListedEnd:
        if end.anew < MOST_BEGUN_ANEW:
            return end.begun_anew()
        why = UpstreamError(f"{error}: begun anew {end.anew} times, and not listed to its end")
        if end.destination is None:
            raise why from error
        return self._unread(end, why)

    def _unread(self, end: ListedEnd, error: UpstreamError, *, down: bool = False) -> ListedEnd:
        """An incomplete listing says nothing."""
        self._listed.pop(end.destination, None)
        return msgspec.structs.replace(end, names=(), whole=True, unread=str(error), down=down)
