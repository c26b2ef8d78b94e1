"""List one of our public repositories, and tell what the table does not know of it: no event tells of public images.

What differs is mended by the message that an event would have been. A sweep that dies anywhere is simply run again.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import msgspec

from chalicelib.domain.events.sweep_message import SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.public_registry import PublicRegistry
from chalicelib.domain.reconcile.difference import Difference, DifferenceKind
from chalicelib.domain.reconcile.reconciled import Memory, Place, Reconciled
from chalicelib.domain.reconcile.reconciliation import compare
from chalicelib.domain.reconcile.repository_view import View
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports.sweep_ports import PublicHouse
from chalicelib.services.reconcile.match_twins import part_twins
from chalicelib.services.reconcile.mend_difference import is_confirmed, mend_difference
from chalicelib.services.reconcile.read_tags import read_tags

AT, RESULT = "public_at", "public"
PATIENCE = timedelta(seconds=20)
PARTED_FOR = timedelta(days=1)
NOT_TO_BE_KNOWN = frozenset({DifferenceKind.CHILDREN_UNKNOWN})
"""ECR Public gives no manifests."""


def list_public(message: SweepRepository, house: PublicHouse, *, dry_run: bool = False) -> Reconciled:
    """`dry_run`: nothing is sent or kept. Raises TransientError: put it back."""
    home, row = message.repository, house.queries.repository(message.repository)
    first = row is None or AT not in row.facts
    try:
        view = _look(home, message.handed, house)
    except TransientError:
        raise
    except UpstreamError as error:
        result = Reconciled(home, filling=first, error=str(error)[:500])
        if not dry_run:
            house.table.keep_repository(home, {RESULT: msgspec.to_builtins(Memory(error=result.error))})
        return result
    return _mend(view, message, house, first=first, dry_run=dry_run)


def _look(home: Repository, handed: str | None, house: PublicHouse) -> View:
    """Headers are read last: what is listed is never younger than what is stored."""
    registry = msgspec.json.decode(handed, type=PublicRegistry) if handed is not None else house.public.registry()
    if registry is None:
        raise UpstreamError(f"{home.path}: our account has no public registry")
    listed = house.public.images(registry, home)
    headers = {header.ref.digest: header for header in house.table.headers_of(home)}
    return View(home, listed, headers, house.settle, tags=read_tags(home, house.queries))


def _mend(view: View, message: SweepRepository, house: PublicHouse, *, first: bool, dry_run: bool) -> Reconciled:
    began, place = house.clock.now(), Place.read(message.after)
    if message.after is None and not dry_run:
        _part_gone(view, house)
    found, mended = Counter(place.found), list[Difference]()
    differences = [d for d in compare(view) if d.kind not in NOT_TO_BE_KNOWN and d.ref.digest > place.digest]
    for n, difference in enumerate(differences):
        if n and not dry_run and house.clock.now() - began > PATIENCE:
            former = differences[n - 1].ref.digest
            if former != difference.ref.digest:
                rest = msgspec.structs.replace(message, after=place.beyond(former, found), attempt=0)
                house.outbox.send("sweeps", rest)
                return _result(view, found, mended, first=first, more=True)
        if is_confirmed(difference, view, house):
            found[difference.kind] += 1
            mended.append(difference)
            if not dry_run:
                _part(difference, view, house)
                mend_difference(difference, view, house, quiet=first)
    result = _result(view, found, mended, first=first)
    if not dry_run:
        _keep(view, result, house)
    return result


def _part_gone(view: View, house: PublicHouse) -> None:
    """Once more: twins may have been looked for while it was found that the image is gone."""
    for header in view.headers.values():
        lately = header.existence_at is not None and header.existence_at > view.listed.listed_at - PARTED_FOR
        if header.twins and not header.present and lately:
            part_twins(header, house)


def _part(difference: Difference, view: View, house: PublicHouse) -> None:
    header = view.headers.get(difference.ref.digest)
    if difference.kind is DifferenceKind.DELETED and header is not None:
        part_twins(header, house)


def _result(
    view: View, found: Counter[DifferenceKind], mended: list[Difference], *, first: bool, more: bool = False
) -> Reconciled:
    return Reconciled(view.repository, len(view.listed.images), dict(found), tuple(mended), first, more)


def _keep(view: View, result: Reconciled, house: PublicHouse) -> None:
    """One write. No event was lost: there are none."""
    memory = Memory(result.images, dict(result.found))
    pushes = [image.pushed_at for image in view.listed.images.values() if image.pushed_at is not None]
    facts: dict[str, object] = {RESULT: msgspec.to_builtins(memory)}
    if view.listed.absent:
        facts["deleted_at"] = view.believed_at
    else:
        facts[AT] = view.listed.listed_at
    if pushes:
        facts["last_push_at"] = max(pushes)
    house.table.keep_repository(view.repository, facts)
