"""The table in memory: keeps the contract of `services.ports.Table` as the adapter does on DynamoDB.

Documents go through the adapter's packing, so that what comes back is what would come back from AWS. The same tests run
over both (`tests/adapters/table/test_findings_table.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime

import msgspec

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.packing.packing import pack_document, unpack_document
from chalicelib.adapters.table.repositories import points_at, tag_move, with_move
from chalicelib.domain.audit.action import ActionKind, ActionRecord, AlertDelivery
from chalicelib.domain.audit.chain import Chain, Head, chain_name
from chalicelib.domain.audit.root import DayRoot
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Finding, FindingsDocument
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import ConflictError
from chalicelib.services.ports.table import EVERY, DeniedDigests, DigestRange, Move, RolloutProgress, Stored, TagMove


def stored_form(document: FindingsDocument) -> FindingsDocument:
    """What comes back after a put: without texts, in the stored order, in whole seconds."""
    return unpack_document(document.ref, document.revision, pack_document(document))


class FakeTable:
    """`versions` (policy, waivers) is for the test to set; `writes` counts the writes that succeeded, by method."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.headers: dict[ImageRef, Header] = {}
        self.documents: dict[ImageRef, FindingsDocument] = {}
        self.vulnerabilities: dict[tuple[str, str | None], Finding] = {}
        self.kev: dict[str, tuple[bool | None, datetime]] = {}
        self.moves: dict[tuple[Repository, str], tuple[Move, ...]] = {}
        self.repositories: dict[Repository, dict[str, object]] = {}
        self.actions: dict[Chain, list[ActionRecord]] = {}
        self.deliveries: dict[tuple[Chain, str, datetime], AlertDelivery] = {}
        self.heads: dict[date, dict[Chain, Head]] = {}
        self.roots: dict[date, bytes] = {}
        self.fuse, self.brake = Fuse(), Fuse()
        self.layers: dict[tuple[Repository, str], str] = {}
        self.denied: dict[Repository, DeniedDigests] = {}
        self.versions = (0, 0)
        self.rollout: RolloutProgress | None = None
        self.snapshot: tuple[datetime, bytes] | None = None
        self.writes: dict[str, int] = {}

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        wanted = dict.fromkeys(refs)
        return {
            ref: Stored(self.headers[ref], self.read_document(ref).revision) for ref in wanted if ref in self.headers
        }

    def put_header(self, header: Header) -> Header:
        former = self.headers.get(header.ref)
        if header.version != (former.version if former else 0):
            raise ConflictError(f"{header.ref}: version {header.version} is not what is stored")
        self._count("put_header")
        self.repositories.setdefault(header.ref.home, {})
        self.headers[header.ref] = msgspec.structs.replace(header, version=header.version + 1)
        return self.headers[header.ref]

    def mark_refresh(self, ref: ImageRef, version: int, due_at: datetime) -> None:
        former = self.headers.get(ref)
        if version != (former.version if former else 0):
            raise ConflictError(f"{ref}: version {version} is not what is stored")
        self._count("mark_refresh")
        former = former or Header(ref=ref, known_at=self._now())
        self.headers[ref] = msgspec.structs.replace(former, version=version + 1, refresh_due_at=due_at)

    def headers_of(self, repository: Repository, between: DigestRange | None = None) -> Iterator[Header]:
        first, last = between or EVERY
        found = (h for h in self.headers.values() if h.ref.home == repository and first <= h.ref.digest <= last)
        yield from sorted(found, key=lambda h: h.ref.digest)

    def forget_repository(self, repository: Repository) -> None:
        self.repositories.pop(repository, None)
        self.denied.pop(repository, None)

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        found = [(h.due_at, h.ref) for h in self.headers.values() if h.due_at is not None and h.due_at <= before]
        return [ref for _, ref in sorted(found) if shard_of(ref) == shard]

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        return self.documents.get(ref, FindingsDocument(ref))

    def put_document(self, document: FindingsDocument, former: FindingsDocument) -> FindingsDocument:
        put = msgspec.structs.replace(document, revision=former.revision + 1)
        if former.revision != self.read_document(document.ref).revision:
            raise ConflictError(f"{document.ref}: revision {former.revision} is not what is stored")
        self._count("put_document")
        self.documents[document.ref] = stored_form(put)
        return put

    def store_vulnerabilities(self, findings: Iterable[Finding]) -> None:
        self.vulnerabilities.update({(f.vulnerability_id, f.vulnerability_source): f for f in findings})

    def read_kev(self, vulnerability_ids: Iterable[str]) -> dict[str, tuple[bool | None, datetime]]:
        return {i: self.kev[i] for i in vulnerability_ids if i in self.kev}

    def store_kev(self, facts: Mapping[str, bool | None], at: datetime) -> None:
        self.kev.update({i: (kev, at) for i, kev in facts.items()})

    def move_tag(
        self, repository: Repository, tag: str, digest: str | None, at: datetime, *, settles_tie: bool = False
    ) -> TagMove:
        before = self.moves.get((repository, tag), ())
        after = with_move(before, digest, at, settles_tie=settles_tie)
        if after == before:
            return tag_move(tag, before, moved=False)
        self._count("move_tag")
        self.moves[repository, tag] = after
        return tag_move(tag, after, moved=points_at(after) != points_at(before))

    def read_tag(self, repository: Repository, tag: str) -> str | None:
        return points_at(self.moves.get((repository, tag), ()))

    def last_tag_move(self, repository: Repository, tag: str) -> TagMove | None:
        moves = self.moves.get((repository, tag), ())
        return tag_move(tag, moves, moved=False) if moves else None

    def store_repository(self, repository: Repository, facts: Mapping[str, object]) -> None:
        stored = self.repositories.setdefault(repository, {})
        for name, value in facts.items():
            former = stored.get(name)
            if value is None:
                stored.pop(name, None)
            elif not (isinstance(former, datetime) and isinstance(value, datetime) and value <= former):
                stored[name] = value

    def record_action(self, record: ActionRecord) -> bool:
        chain_name(record.chain)
        assert record.kind in set(ActionKind), f"{record.kind} is no kind that the audit log can be asked for"
        if self.action_at(record.chain, record.effect, record.wanted_at) is not None:
            return False
        self._count("record_action")
        self.actions.setdefault(record.chain, []).append(record)
        return True

    def action_at(self, chain: Chain, effect: str, wanted_at: datetime) -> datetime | None:
        found = (r.at for r in self.actions.get(chain, ()) if (r.effect, r.wanted_at) == (effect, wanted_at))
        return next(found, None)

    def read_delivery(self, chain: Chain, effect: str, wanted_at: datetime) -> AlertDelivery | None:
        return self._delivery(chain, effect, wanted_at)

    def _delivery(self, chain: Chain, effect: str, wanted_at: datetime) -> AlertDelivery | None:
        recorded_at = self.action_at(chain, effect, wanted_at)
        fresh = None if recorded_at is None else AlertDelivery(recorded_at)
        return self.deliveries.get((chain, effect, wanted_at), fresh)

    def claim_delivery(self, chain: Chain, effect: str, wanted_at: datetime, claims: int, at: datetime) -> None:
        stored = self._delivery(chain, effect, wanted_at)
        if stored is None or stored.claims != claims or stored.delivered_at is not None:
            raise ConflictError("another worker was faster")
        self.deliveries[chain, effect, wanted_at] = AlertDelivery(at, claims + 1)

    def mark_delivered(self, chain: Chain, effect: str, wanted_at: datetime, at: datetime) -> None:
        stored = self._delivery(chain, effect, wanted_at)
        assert stored is not None, f"{effect} was never recorded"
        self.deliveries[chain, effect, wanted_at] = msgspec.structs.replace(stored, delivered_at=at)

    def put_checkpoints(self, day: date, heads: Mapping[Chain, Head]) -> None:
        kept = self.heads.setdefault(day, {})
        risen = {c: h for c, h in heads.items() if c not in kept or h.count > kept[c].count}
        if risen:
            self._count("copy_heads")
            kept.update(risen)

    def put_root(self, sealed: DayRoot) -> None:
        assert sealed.day is not None
        if self.roots.setdefault(sealed.day, sealed.root) != sealed.root:
            raise ConflictError(f"{sealed.day} has another root")

    def keep_layers(self, repository: Repository, mark: str, digest: str) -> None:
        self._count("keep_layers")
        self.layers[repository, mark] = digest

    def read_layers(self, repository: Repository, mark: str) -> str | None:
        return self.layers.get((repository, mark))

    def read_fuse(self, *, releases: bool = False) -> Fuse:
        return self.brake if releases else self.fuse

    def change_fuse(self, change: Callable[[Fuse], Fuse], *, releases: bool = False) -> Fuse:
        former = self.read_fuse(releases=releases)
        after = change(former)
        if after != former:
            self._count("change_fuse")
        if releases:
            self.brake = after
        else:
            self.fuse = after
        return after

    def read_denied(self, repository: Repository) -> DeniedDigests:
        return self.denied.get(repository, DeniedDigests())

    def denying(self) -> Iterator[Repository]:
        return iter([home for home, denied in self.denied.items() if denied.digests])

    def change_denied(self, repository: Repository, change: Callable[[DeniedDigests], DeniedDigests]) -> DeniedDigests:
        before = self.read_denied(repository)
        after = change(before)
        if after != before:
            self._count("change_denied")
            self.repositories.setdefault(repository, {})
            self.denied[repository] = after
        return after

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        if self.snapshot is None or self.snapshot[0] < at:
            self.snapshot = (at, content)

    def read_versions(self) -> tuple[int, int]:
        return self.versions

    def _count(self, method: str) -> None:
        self.writes[method] = self.writes.get(method, 0) + 1

    def read_rollout(self) -> RolloutProgress | None:
        return self.rollout

    def put_rollout(self, rollout: RolloutProgress) -> RolloutProgress:
        if rollout.revision != (self.rollout.revision if self.rollout else 0):
            raise ConflictError("another run has put it")
        self._count("put_fan_out")
        self.rollout = msgspec.structs.replace(rollout, revision=rollout.revision + 1)
        return self.rollout
