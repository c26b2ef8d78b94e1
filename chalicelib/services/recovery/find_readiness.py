"""Find out whether what runs could be run from another Region. Nothing is written or announced here.

What runs is looked up where what is stored is no look of ours of the last day; where the copies stand is what the last
replication sweep, the events and the doors have stored.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from chalicelib.domain.admission.admission import read_image
from chalicelib.domain.admission.judgement import admit_image
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import LOOKED_UP_FOR, InUse, InUseState, Kind, Repository
from chalicelib.domain.reconcile.scan_proof import ScanProof, prove_scan
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.domain.recovery.readiness import CopyEvidence, Readiness, assess_copy
from chalicelib.domain.replication.lag import ReplicationLag
from chalicelib.domain.replication.replica import ReplicationState
from chalicelib.domain.replication.rules import Destination
from chalicelib.services.admission.admit_images import look_up_images
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import find_use


class CopyRepository(msgspec.Struct, frozen=True):
    """What all copies of one repository share: the digests for which it denies pulls, and how it is scanned."""

    denied: tuple[str, ...]
    scanning: ScanRule | None


def read_copy_repository(home: Repository, context: Context) -> CopyRepository:
    """Raises TransientError, UpstreamError."""
    row = context.queries.repository(home)
    rule = ScanRule.read(row.facts.get("scanning")) if row is not None else None
    return CopyRepository(tuple(context.table.read_denied(home).digests), rule)


def find_readiness(
    header: Header, destination: Destination, state: ReplicationState, shared: CopyRepository, context: Context
) -> Readiness:
    """`state`: of its repository's copies; `shared`: of the repository there. Raises TransientError, UpstreamError."""
    ref = header.ref
    copy = destination.repository(ref.home).image(ref.digest)
    (judged,) = look_up_images([read_image(str(copy))], context)
    policy, now = context.rules.current().policy, context.clock.now()
    return assess_copy(
        CopyEvidence(
            source=header,
            destination=destination,
            now=now,
            sight=next((sight for sight in state.sights if sight.destination == destination), None),
            looked_at=state.refreshed_at,
            replica=next((r for r in context.replicas.of_image(ref) if r.destination == destination), None),
            there=judged.header,
            watched=judged.watched,
            admission=admit_image(judged, policy, now),
            denied=shared.denied,
            proofs=() if judged.header is None else _proofs(judged.header, shared.scanning, context),
        )
    )


def _proofs(there: Header, rule: ScanRule | None, context: Context) -> list[ScanProof]:
    """Of an index those of its images."""
    policy, now = context.rules.current().policy, context.clock.now()
    images = [there] if there.kind is not Kind.INDEX else _images(there, context)
    return [proof for one in images if (proof := prove_scan(one, rule, policy, now)) is not None]


def _images(index: Header, context: Context) -> list[Header]:
    """One that is not known yet as one without a scan."""
    refs = [index.ref.home.image(child.digest) for child in index.children]
    known = {ref: stored.header for ref, stored in context.table.read_headers(refs).items()}
    return [known.get(ref) or Header(ref=ref, exists=True) for ref in refs]


ASKING_FOR = timedelta(seconds=10)
"""From when on no further image is begun with: to look who runs it may take twelve seconds, and the API has 28."""


class RecoveryQuestion:
    """One question about many images, which are to be run from `region`: what the images of a repository share is read
    once. `registry` None: the account of the source, else the one in that Region that its repository is copied to."""

    def __init__(self, region: str, registry: str | None, context: Context) -> None:
        self._region, self._registry, self._context = region, registry, context
        self._until = context.clock.now() + ASKING_FOR
        self._states: dict[Repository, ReplicationState] = {}
        self._shared: dict[Repository, CopyRepository] = {}

    @property
    def has_time(self) -> bool:
        """For one more image."""
        return self._context.clock.now() < self._until

    def use(self, header: Header) -> InUse:
        """A scanner's YES of the last day stands where our own look finds no user: the scanner knows other clusters."""
        if (known := self._known_use(header)) is not None:
            return known
        looked, told = find_use(header, self._context), header.in_use
        if looked.state is InUseState.YES or told.state is not InUseState.YES or self._is_old(told):
            return looked
        return told

    def readiness(self, header: Header) -> Readiness:
        """Raises TransientError, UpstreamError."""
        home, state = header.ref.home, self._state(header.ref.home)
        destination = self._destination(home, state)
        there = destination.repository(home)
        if there not in self._shared:
            self._shared[there] = read_copy_repository(there, self._context)
        return find_readiness(header, destination, state, self._shared[there], self._context)

    def lag(self, home: Repository) -> ReplicationLag | None:
        """As the last sweep has measured it. None: it was not measured."""
        row = self._context.queries.repository(home)
        facts = row.facts.get("replication") if row is not None else None
        said = facts.get(self._destination(home, self._state(home)).path) if isinstance(facts, dict) else None
        return ReplicationLag.read(said.get("lag")) if isinstance(said, dict) else None

    def _known_use(self, header: Header) -> InUse | None:
        use = header.in_use
        answered = use.looked and use.state is not InUseState.UNKNOWN
        return use if answered and not self._is_old(use) else None

    def _is_old(self, use: InUse) -> bool:
        return use.seen_at is None or self._context.clock.now() - use.seen_at > LOOKED_UP_FOR

    def _state(self, home: Repository) -> ReplicationState:
        if home not in self._states:
            self._states[home] = self._context.replicas.state(home) or ReplicationState()
        return self._states[home]

    def _destination(self, home: Repository, state: ReplicationState) -> Destination:
        own = Destination(self._registry or home.registry, self._region)
        copied = [s.destination for s in state.sights if s.destination.region == self._region]
        return own if self._registry or own in copied or not copied else copied[0]
