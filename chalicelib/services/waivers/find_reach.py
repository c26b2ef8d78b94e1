"""Find the images that waivers excuse, or excused until they ended: one walk of the index for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.change import concerns
from chalicelib.domain.waivers.end import Turned, WaiverEnd
from chalicelib.services.ports.ports import House, IndexRow

PAGE, PAGES_AT_MOST = 500, 40
LOOKED_AT_MOST = 5000
"""Of one walk, so that it and what is written after it outlasts no function."""


class Reach(msgspec.Struct, frozen=True):
    """Images by waiver: those whose verdict names it, those it may be about, and what its end came to. `after`: the
    walk was cut off there."""

    excused: Counter[str]
    concerned: Counter[str]
    ends: Mapping[str, WaiverEnd]
    after: str | None


def find_reach(waivers: Sequence[Waiver], after: str | None, house: House) -> Reach:
    """What the index shows is confirmed by the headers, read consistently; an index whose own verdict was turned is
    found by its images."""
    policy, now = house.rules.current().policy, house.clock.now()
    sketch_tells = not any(rule.sees_resolved for rule in policy.rulebook)

    def concerning(row: IndexRow) -> list[str]:
        return [w.id for w in waivers if concerns(w, row.ref.repository, row.sketch, sketch_tells=sketch_tells)]

    concerned: Counter[str] = Counter()
    headers: dict[ImageRef, Header] = {}
    for _ in range(PAGES_AT_MOST):
        page = house.queries.rows_where(lambda row: bool(concerning(row)), after, PAGE)
        concerned.update(name for row in page.items for name in concerning(row))
        headers |= _read([row.ref for row in page.items], house)
        after = page.after
        if after is None or len(headers) >= LOOKED_AT_MOST:
            break
    excused = Counter(name for h in headers.values() if h.verdict and h.present for name in h.verdict.waived)
    parents = {h.ref.home.image(p) for h in headers.values() if h.left_to_summary for p in h.parents}
    headers |= _read(sorted(parents - headers.keys()), house)
    turned = [Turned(h, alert) for h in headers.values() if (alert := h.left_to_summary) is not None]
    ends = {w.id: _end(w, turned, excused, whole=after is None) for w in waivers if not w.in_force(now)}
    return Reach(excused, concerned, ends, after)


def _read(refs: Sequence[ImageRef], house: House) -> dict[ImageRef, Header]:
    return {ref: stored.header for ref, stored in house.table.read_headers(refs).items()} if refs else {}


def _end(waiver: Waiver, turned: Sequence[Turned], excused: Counter[str], *, whole: bool) -> WaiverEnd:
    own = tuple(t for t in turned if t.alert.ended is not None and waiver.id in t.alert.ended.waivers)
    return WaiverEnd(own, excused[waiver.id], whole)
