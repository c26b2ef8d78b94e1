"""Reconcile one repository of a registry with the table: list it cheaply, compare, and repair what no event has told.

Each difference is repaired by the message that was lost, or by a refresh, through the queues and use cases of events.
So a sweep that dies is run again, one that runs twice sends the same twice, and a late event finds what it would have
found. At the end one item is written, the repository's own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from chalicelib.domain.alerts.alert import AlertKey, mark_of
from chalicelib.domain.alerts.kind_alert import compose_mistaken_alert
from chalicelib.domain.events.sweep_message import SweepRepository
from chalicelib.domain.images.image import ImageRef, Kind, Manifest
from chalicelib.domain.reconcile.difference import (
    Difference,
    DifferenceKind,
    Memory,
    Reconciled,
    ReconcileProgress,
    RepositoryFacts,
    left_words,
)
from chalicelib.domain.reconcile.reconciliation import behind, compare
from chalicelib.domain.reconcile.repository_view import RepositoryView, compared
from chalicelib.domain.reconcile.scan_comparison import (
    Counted,
    compare_counts,
    compare_peeked,
    is_finished,
    share,
    to_peek,
    turn_of,
    words_of_counts,
)
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.answers import answered
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.mark_registry_stale import LASTING_ATTEMPTS, mark_images_stale
from chalicelib.services.reconcile.plan_sweep import COMPARED_AT, FINDINGS_AT
from chalicelib.services.reconcile.prove_scans import prove_scans
from chalicelib.services.reconcile.repair_difference import is_confirmed, read_tags, repair_difference
from chalicelib.services.reconcile.survey_registry import COUNTS_PAGES, inspect_repository

RESULT = "reconcile"
PATIENCE = timedelta(seconds=20)
"""From when all is listed: else a slow repository would be listed again for each image."""
READ_AT_ONCE = 50
READ_AHEAD = 100
MOST_SEEN = 500


def reconcile_registry(message: SweepRepository, context: Context, *, dry_run: bool = False) -> Reconciled:
    """`dry_run`: nothing is sent or stored. Raises TransientError: requeue it."""
    row = context.queries.repository(message.repository)
    facts = RepositoryFacts.read(row.facts) if row is not None else RepositoryFacts()
    try:
        return _Reconcile(message, facts, context, dry_run=dry_run).run()
    except TransientError:
        # Not each time: refreshing all images would lengthen the throttling.
        if message.attempt and message.attempt % LASTING_ATTEMPTS == 0 and not dry_run:
            mark_images_stale(message.repository, facts.reconcile_at, context)
        raise
    except UpstreamError as error:
        result = Reconciled(message.repository, filling=message.filling, error=str(error)[:500])
        if not dry_run:
            memory = msgspec.structs.replace(facts.reconcile, error=result.error)
            context.table.store_repository(message.repository, {RESULT: msgspec.to_builtins(memory)})
            mark_images_stale(message.repository, facts.reconcile_at, context)
        return result


class _Reconcile:
    def __init__(self, message: SweepRepository, facts: RepositoryFacts, context: Context, *, dry_run: bool) -> None:
        self.message, self.facts, self.context, self.dry_run = message, facts, context, dry_run
        self.home, self.memory = message.repository, facts.reconcile
        self.progress = ReconcileProgress.read(message.after, self.memory.left_after)
        self.turn = turn_of(message.started_at)
        self.view = self._view()
        self.began = context.clock.now()
        self.counted = Counted()
        self.manifests: dict[str, Manifest | None] = {}
        self.counts = words_of_counts(self.view)

    def run(self) -> Reconciled:
        work = self._work()
        found, repaired = Counter(self.progress.found), list[Difference]()
        for n, digest in enumerate(digests := self.progress.left(work), 1):
            self._read_manifests(work, digests[n - 1 :])
            for difference in self._repaired(work[digest], self.home.image(digest)):
                found[difference.kind] += 1
                repaired.append(difference)
            if n < len(digests) and not self.dry_run and self.context.clock.now() - self.began > PATIENCE:
                return self._go_on(digest, len(digests) - n, self._result(found, repaired, more=True))
        result = self._proved(self._result(found, repaired), {d.ref for d in repaired if d.wants_refresh})
        if not self.dry_run:
            self._store(result)
        return result

    def _go_on(self, digest: str, left: int, result: Reconciled) -> Reconciled:
        """By another message; where the chain is too long, by the next sweep."""
        parts = self.message.parts_with(self.progress.parts)
        if parts is None:
            result = msgspec.structs.replace(result, more=False, error=left_words(left))
            memory = msgspec.structs.replace(self.memory, error=result.error, left_after=digest)
            self.context.table.store_repository(self.home, {RESULT: msgspec.to_builtins(memory)})
            return result
        after = ReconcileProgress(digest, dict(result.found), parts, self.progress.first)
        self.context.outbox.send("sweeps", msgspec.structs.replace(self.message, after=str(after), attempt=0))
        return result

    def _view(self) -> RepositoryView:
        """Headers and tags are read after the images are listed, so that none of them is older than the listing."""
        listed = self.context.inventory.images(self.home)
        images = listed.images
        stored = (compared(h, images.get(h.ref.digest)) for h in self.context.table.headers_of(self.home))
        headers = {header.ref.digest: header for header in stored}
        inspected = inspect_repository(self.home, self.message.handed, self.facts, headers, self.context)
        tags = read_tags(self.home, self.context.queries, images)
        return RepositoryView(self.home, listed, headers, self.context.consistency_delay, inspected, tags)

    def _work(self) -> dict[str, list[Difference]]:
        """Differences by digest; none of an image whose scan has to be read one by one."""
        work: dict[str, list[Difference]] = defaultdict(list)
        found = compare(self.view)
        refreshed = {d.ref for d in found if d.wants_refresh}
        self.counted = self._count(refreshed)
        for difference in (*found, *self.counted.vanished, *self._behind()):
            work[difference.ref.digest].append(difference)
        self.peeks = {*to_peek(self.view, self.turn)} - refreshed
        for ref in self.peeks:
            work.setdefault(ref.digest, [])
        return work

    def _read_manifests(self, work: Mapping[str, Sequence[Difference]], digests: Sequence[str]) -> None:
        """Those of the next images whose kind is unread, when the first of `digests` is one of them."""
        if digests[0] in self.manifests or not _is_unread(work[digests[0]]):
            return
        some = [digest for digest in islice(digests, READ_AHEAD) if _is_unread(work[digest])]
        read = answered(lambda: self.context.registry.read_manifests(self.home, some)) or {}
        self.manifests = dict.fromkeys(some) | dict(read)
        wrong = [h for d in some if (h := self.view.headers[d]).kind is Kind.ARTIFACT and not _is_artifact(read.get(d))]
        if wrong and not self.dry_run:
            # Before they are recorded: twice after a crash rather than never.
            alert = compose_mistaken_alert(self.home, wrong, self.context.clock.now())
            mark = mark_of(header.ref.digest for header in wrong)
            key = AlertKey(f"ALERT#KIND#{mark}", self.message.started_at, subject=f"kinds/{self.home.path}")
            announce(alert, key, self.context)

    def _repaired(self, differences: Iterable[Difference], ref: ImageRef) -> list[Difference]:
        """The confirmed differences of one image, repaired."""
        peeked = self._peek(ref) if ref in self.peeks else None
        wanted = [*differences, *([peeked] if peeked is not None else [])]
        refreshed = any(d.wants_refresh for d in wanted)
        confirmed = []
        manifest = self.manifests.get(ref.digest)
        for difference in wanted:
            if is_confirmed(difference, self.view, self.context, manifest):
                confirmed.append(difference)
                if not self.dry_run:
                    quiet = self.message.filling
                    repair_difference(
                        difference, self.view, self.context, quiet=quiet, refreshed=refreshed, manifest=manifest
                    )
        return confirmed

    def _peek(self, ref: ImageRef) -> Difference | None:
        """A scan that cannot be read holds up no other image; one that is stored as finished is refreshed."""
        header = self.view.headers.get(ref.digest)
        try:
            scan = self.context.inventory.peek(ref)
        except TransientError:
            raise
        except (AbsentError, DeniedError):
            return None
        except UpstreamError as error:
            return Difference(DifferenceKind.SCAN_STALE, ref, detail=str(error)) if is_finished(header) else None
        if self.view.is_recent(scan.scanned_at):
            return None
        return compare_peeked(header, ref, scan)

    def _count(self, refreshed: set[ImageRef]) -> Counted:
        """Image by image only where the repository's count differs, and not as it did before. A planner that could not
        hand it on asks for no more than one of both."""
        if self.message.handed is not None and self.counts in (None, self.memory.counts):
            return Counted(seen=self.memory.seen if self.counts else ())
        if self.view.inspected.covered is None:
            return Counted(seen=self.memory.seen)
        counts = answered(lambda: self.context.inspection.image_counts(self.home, COUNTS_PAGES))
        return Counted() if counts is None else compare_counts(self.view, counts, self.memory.seen, refreshed)

    def _behind(self) -> list[Difference]:
        """Of the seventh of all images whose turn it is: each takes a read of its document."""
        rules = self.context.rules.current()
        mine = [h.ref for digest, h in sorted(self.view.headers.items()) if share(digest) == self.turn]
        found = []
        for start in range(0, len(mine), READ_AT_ONCE):
            stored = self.context.table.read_headers(mine[start : start + READ_AT_ONCE])
            found += [behind(s.header, s.document_revision, rules) for s in stored.values()]
        return [difference for difference in found if difference is not None]

    def _result(self, found: Counter[DifferenceKind], repaired: list[Difference], *, more: bool = False) -> Reconciled:
        images = len(self.view.listed.images)
        return Reconciled(self.home, images, dict(found), tuple(repaired), self.message.filling, more)

    def _proved(self, result: Reconciled, refreshed: set[ImageRef]) -> Reconciled:
        rule, policy = self.view.inspected.rule, self.context.rules.current().policy
        filling, dry_run = self.message.filling, self.dry_run
        found = prove_scans(self.view, rule, policy, self.context, refreshed, filling=filling, dry_run=dry_run)
        return msgspec.structs.replace(result, proofs=found.proofs, started=found.started)

    def _store(self, result: Reconciled) -> None:
        """One write. The time up to which findings are known advances only where they were asked for or absent."""
        memory = Memory(
            result.images,
            dict(result.found),
            result.lost_events,
            self.counts,
            self.counted.seen[:MOST_SEEN],
            proofs=result.proofs,
            started=result.started,
        )
        facts: dict[str, object] = {COMPARED_AT: self.view.listed.listed_at, RESULT: msgspec.to_builtins(memory)}
        if (rule := self.view.inspected.rule) is not None:
            facts["scanning"] = msgspec.json.decode(msgspec.json.encode(rule))
        if (known_at := self._findings_at()) is not None:
            facts[FINDINGS_AT] = known_at
        if self.view.listed.absent and not self.facts.is_deleted:
            facts["deleted_at"] = self.view.believed_at
        self.context.table.store_repository(self.home, facts)

    def _findings_at(self) -> datetime | None:
        if self.view.inspected.changed is not None:
            return self.view.inspected.changed.at
        refreshed = any(h.scan_seen_at is not None for h in self.view.headers.values())
        return None if refreshed or self.facts.reconcile_findings_at else self.view.listed.listed_at


def _is_unread(differences: Iterable[Difference]) -> bool:
    return any(difference.kind is DifferenceKind.KIND_UNREAD for difference in differences)


def _is_artifact(manifest: Manifest | None) -> bool:
    return manifest is not None and manifest.kind is Kind.ARTIFACT
