"""List one of our public repositories, and tell what the table does not know of it: no event tells of public images.

What differs is mended by the message that an event would have been. A sweep that dies anywhere is simply run again.

Plan the sweep of our public repositories: a message for each, and one for each shard in which twins are looked for.

Harmless when run twice. Who is out of time sends itself on behind the repository it sent last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta

import msgspec

from chalicelib.domain.events.sweep_message import MatchSameDigest, PlanSweep, SweepRepository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import PublicRegistry
from chalicelib.domain.reconcile.difference import Difference, DifferenceKind
from chalicelib.domain.reconcile.reconciliation import Memory, Place, Reconciled, compare
from chalicelib.domain.reconcile.repository_facts import RepositoryFacts
from chalicelib.domain.reconcile.repository_view import RepositoryView
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.match_same_digest import part_same_digest
from chalicelib.services.reconcile.repair_difference import is_confirmed, read_tags, repair_difference

PATIENCE = timedelta(seconds=20)
MATCHED_AFTER = timedelta(minutes=10)
"""Most repositories are listed by then, and the next sweep finds what is not."""
SHARDS = 8
KNOWN_ASKED = 500
Known = Mapping[Repository, RepositoryFacts]


def plan_public(plan: PlanSweep, context: Context) -> int:
    """Returns how many repositories were sent. Raises TransientError: put it back."""
    registry = context.public.registry()
    known = dict(_known(registry, context)) if registry is not None else {}
    homes = _homes(registry, known, context) if registry is not None else ()
    left = [home for home in homes if plan.after is None or home.path > plan.after]
    began = context.clock.now()
    for sent, home in enumerate(left, 1):
        context.outbox.send("sweeps", _message(plan, home, registry))
        if sent < len(left) and context.clock.now() - began > PATIENCE:
            rest = msgspec.structs.replace(plan, after=home.path, attempt=0)
            context.outbox.send("sweeps", rest)
            return sent
    if homes:
        filling = plan.started_at if _is_first(plan, known) else None
        for shard in range(SHARDS):
            context.outbox.send("sweeps", MatchSameDigest(shard, filling=filling), MATCHED_AFTER.total_seconds())
    return len(left)


def _homes(registry: PublicRegistry, known: Known, context: Context) -> tuple[Repository, ...]:
    """Our public repositories by path: those that are there, and those that were and are not known to be gone."""
    left = (home for home, facts in known.items() if not facts.is_unlisted)
    return tuple(sorted({*_listed(registry, context), *left}, key=lambda home: home.path))


def _is_first(plan: PlanSweep, known: Known) -> bool:
    """Whether no public repository was listed before this sweep: what it finds is told of by a summary."""
    return not any(facts.public_at is not None and facts.public_at < plan.started_at for facts in known.values())


def _message(plan: PlanSweep, home: Repository, registry: PublicRegistry | None) -> SweepRepository:
    return SweepRepository(plan.sweep, home, plan.started_at, msgspec.json.encode(registry).decode())


def _listed(registry: PublicRegistry, context: Context) -> Iterator[Repository]:
    after: str | None = None
    while True:
        page = context.public.repositories(registry, after)
        yield from (detail.repository for detail in page.repositories)
        if page.after is None:
            return
        after = page.after


def _known(registry: PublicRegistry, context: Context) -> Iterator[tuple[Repository, RepositoryFacts]]:
    after: str | None = None
    while True:
        page = context.queries.repositories(after, KNOWN_ASKED)
        for row in page.items:
            if registry.owns(row.repository):
                yield row.repository, RepositoryFacts.read(row.facts)
        if page.after is None:
            return
        after = page.after


AT, RESULT = "public_at", "public"
PARTED_FOR = timedelta(days=1)
NOT_TO_BE_KNOWN = frozenset({DifferenceKind.CHILDREN_UNKNOWN})
"""ECR Public gives no manifests."""


def list_public(message: SweepRepository, context: Context, *, dry_run: bool = False) -> Reconciled:
    """`dry_run`: nothing is sent or kept. Raises TransientError: put it back."""
    home, row = message.repository, context.queries.repository(message.repository)
    first = row is None or RepositoryFacts.read(row.facts).public_at is None
    try:
        view = _look(home, message.handed, context)
    except TransientError:
        raise
    except UpstreamError as error:
        result = Reconciled(home, filling=first, error=str(error)[:500])
        if not dry_run:
            context.table.store_repository(home, {RESULT: msgspec.to_builtins(Memory(error=result.error))})
        return result
    return _mend(view, message, context, first=first, dry_run=dry_run)


def _look(home: Repository, handed: str | None, context: Context) -> RepositoryView:
    """Headers are read last: what is listed is never younger than what is stored."""
    registry = msgspec.json.decode(handed, type=PublicRegistry) if handed is not None else context.public.registry()
    if registry is None:
        raise UpstreamError(f"{home.path}: our account has no public registry")
    listed = context.public.images(registry, home)
    headers = {header.ref.digest: header for header in context.table.headers_of(home)}
    return RepositoryView(home, listed, headers, context.consistency_delay, tags=read_tags(home, context.queries))


def _mend(
    view: RepositoryView, message: SweepRepository, context: Context, *, first: bool, dry_run: bool
) -> Reconciled:
    began, place = context.clock.now(), Place.read(message.after)
    if message.after is None and not dry_run:
        _part_gone(view, context)
    found, mended = Counter(place.found), list[Difference]()
    differences = [d for d in compare(view) if d.kind not in NOT_TO_BE_KNOWN and d.ref.digest > place.digest]
    for n, difference in enumerate(differences):
        if n and not dry_run and context.clock.now() - began > PATIENCE:
            former = differences[n - 1].ref.digest
            if former != difference.ref.digest:
                rest = msgspec.structs.replace(message, after=place.beyond(former, found), attempt=0)
                context.outbox.send("sweeps", rest)
                return _result(view, found, mended, first=first, more=True)
        if is_confirmed(difference, view, context):
            found[difference.kind] += 1
            mended.append(difference)
            if not dry_run:
                _part(difference, view, context)
                repair_difference(difference, view, context, quiet=first)
    result = _result(view, found, mended, first=first)
    if not dry_run:
        _keep(view, result, context)
    return result


def _part_gone(view: RepositoryView, context: Context) -> None:
    """Once more: twins may have been looked for while it was found that the image is gone."""
    for header in view.headers.values():
        lately = header.existence_at is not None and header.existence_at > view.listed.listed_at - PARTED_FOR
        if header.twins and not header.present and lately:
            part_same_digest(header, context)


def _part(difference: Difference, view: RepositoryView, context: Context) -> None:
    header = view.headers.get(difference.ref.digest)
    if difference.kind is DifferenceKind.DELETED and header is not None:
        part_same_digest(header, context)


def _result(
    view: RepositoryView, found: Counter[DifferenceKind], mended: list[Difference], *, first: bool, more: bool = False
) -> Reconciled:
    return Reconciled(view.repository, len(view.listed.images), dict(found), tuple(mended), first, more)


def _keep(view: RepositoryView, result: Reconciled, context: Context) -> None:
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
    context.table.store_repository(view.repository, facts)
