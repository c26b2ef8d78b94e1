"""A world for stories about replication: two accounts, three Regions, the local ECR, which really copies.

Both ends are read through the real adapters, the other account by an assumed role; copies are kept by the real adapter
on DynamoDB. Everything else is `world`'s. Time stands still until the story moves it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import boto3
import msgspec
import pytest
from moto.dynamodb.models import dynamodb_backends
from moto.ecr.models import ecr_backends

from chalicelib.adapters.aws.sessions import AssumedRoles, Sessions
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.ecr.registry import EcrRegistry
from chalicelib.adapters.ecr.settings import EcrReplication
from chalicelib.adapters.stores.sweep_items import ReplicaItems
from chalicelib.domain.events.message import SendAlert
from chalicelib.domain.events.sweep_message import ReplicationCheck, Sweep, SweepRepository
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Order
from chalicelib.domain.images.image import ImageRef, Repository, Scan, ScanState
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.replication.replica import Replica
from chalicelib.domain.replication.rules import Destination
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.server import LocalAws
from chalicelib.local.ecr.ecr import HeldImage, LocalEcr, ecr_of
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.local.events import LocalClock
from chalicelib.services.replication.check_replica import check_replica
from chalicelib.services.replication.check_replication import check_replication
from tests.fakes.table import FakeTable
from tests.local.running import local_aws
from tests.services.world import World

OTHER = "210987654321"
NAME = "team/api"
HOME = Repository(ACCOUNT, "eu-west-1", NAME)
NEAR = Destination(ACCOUNT, "eu-central-1")
FAR = Destination(OTHER, "us-east-1")
ROLE = f"arn:aws:iam::{OTHER}:role/lazaretto-spoke"
BOTH = ((None, (NEAR, FAR)),)
WITHIN = timedelta(minutes=30)
TABLE = "lazaretto-replication"


class WorldClock(LocalClock):
    """AWS goes by the story's time."""

    world: Estate | None = None

    def now(self) -> datetime:
        return self.world.moment if self.world is not None else super().now()


class Running(NamedTuple):
    """The clients are made once: that takes longer than most stories."""

    aws: LocalAws
    clock: WorldClock
    sessions: Sessions
    accounts: AssumedRoles


@contextmanager
def running() -> Iterator[Running]:
    clock = WorldClock()
    with local_aws() as aws:
        aws.clock = clock
        create_table(boto3.client("dynamodb"), TABLE)
        sessions = Sessions(HOME.region)
        yield Running(aws, clock, sessions, AssumedRoles(sessions, {OTHER: ROLE}, clock.now))


class Channel:
    """`failure`: what it raises instead of taking an alert."""

    def __init__(self, name: str) -> None:
        self.name, self.alerts, self.failure = name, list[Any](), None

    def send(self, alert: Any) -> None:
        if self.failure is not None:
            raise self.failure
        self.alerts.append(alert)


class Estate(World):
    """`takes`: how long a copy is under way. `blind`: no role lets us look at the other account."""

    def __init__(self, held: Running, takes: timedelta = timedelta(), *, blind: bool = False) -> None:
        super().__init__(FakeTable)
        held.clock.world, self.sessions = self, held.sessions
        ecr_backends.clear()
        dynamodb_backends[ACCOUNT][HOME.region].tables[TABLE].items.clear()
        LocalEcr.listen(self._publish, held.clock)
        self.events: Any = {}
        self.heard: list[Any] = []
        LocalReplication.reset(takes)
        self.change_policy(notify=[{"channel": "slack"}])
        self.envelopes.clear()
        self.accounts = AssumedRoles(held.sessions, {}, self.now) if blind else held.accounts
        self.replication: Any = EcrReplication(lambda account, region: self.client(account, region), self.now)
        self.replicas: Any = ReplicaItems(Dynamo(held.sessions.client("dynamodb"), TABLE), self.now)
        self.registry = EcrRegistry(lambda _, region: held.sessions.client("ecr", region), lambda region: None)  # type: ignore
        self.slack = Channel("slack")
        self.channels: dict[str, Any] = {"slack": self.slack}
        self.sent_on: list[Any] = []
        ecr_of(HOME).hold_repository(NAME)

    def client(self, account: str, region: str) -> Any:
        return self.accounts.client(account, "ecr", region)

    def send(self, queue: str, message: Any, delay_seconds: float = 0) -> None:
        if isinstance(message, ReplicationCheck | SweepRepository):
            self.sent_on.append((message, delay_seconds))
        elif isinstance(message, SendAlert):
            self.channels[message.channel].send(message.alert)
        else:
            super().send(queue, message, delay_seconds)

    # ---- what the story does

    def configure(
        self,
        *rules: tuple[str | None, tuple[Destination, ...]],
        deletes: bool = False,
        region: str = HOME.region,
    ) -> None:
        """By prefix; None: every repository. `deletes`: deletions are copied too."""
        said = [
            {
                "destinations": [{"region": p.region, "registryId": p.registry} for p in places],
                **({"repositoryFilters": [{"filter": prefix, "filterType": "PREFIX_MATCH"}]} if prefix else {}),
                **({"deleteReplication": {"enabled": True}} if deletes else {}),
            }
            for prefix, places in rules
        ]
        client = self.sessions.client("ecr", region)
        client.put_replication_configuration(replicationConfiguration={"rules": said})

    def let_in(self, *actions: str, place: Destination = FAR) -> None:
        """The destination's registry policy lets our account do that."""
        statement = {
            "Sid": "replication",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": list(actions or ("ecr:ReplicateImage", "ecr:CreateRepository")),
            "Resource": f"arn:aws:ecr:{place.region}:{place.registry}:repository/*",
        }
        text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        ecr_of(place.repository(HOME)).registry_policy = text

    def _publish(self, event: Any) -> None:
        if event["detail-type"] == "ECR Replication Action":
            self.heard.append(event)
        LocalReplication.take_up(event)

    def push(self, number: int, *tags: str, name: str = NAME, region: str = HOME.region, **body: Any) -> ImageRef:
        client, home = self.sessions.client("ecr", region), Repository(ACCOUNT, region, name)
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{number:064x}"},
            "layers": [],
            **body,
        }
        text = json.dumps(manifest)
        ecr_of(home).hold_repository(name)
        for tag in tags or (None,):
            tagged: Any = {"imageTag": tag} if tag else {}
            put = client.put_image(repositoryName=name, imageManifest=text, **tagged)
        return home.image(put["image"]["imageId"]["imageDigest"])

    def copy_of(self, ref: ImageRef, place: Destination) -> HeldImage:
        return ecr_of(place.repository(ref.home)).get(ref.repository, {"imageDigest": ref.digest})

    def scan_copies(self, *refs: ImageRef, places: tuple[Destination, ...] = (NEAR, FAR)) -> None:
        for ref in refs:
            for place in places:
                self.copy_of(ref, place).basic_scan = {"imageScanStatus": {"status": "COMPLETE"}}

    def judged(self, ref: ImageRef, decision: Decision, **facts: Any) -> Header:
        """Its header as the verdict would leave it."""
        stored = self.stored.read_headers([ref]).get(ref)
        header = stored.header if stored is not None else Header(ref=ref, known_at=self.moment)
        verdict = Verdict(decision, (Reason("critical", decision, "bad"),), 1, self.moment, 1)
        known = {"exists": True, "existence_at": self.moment, "refreshed_at": self.moment, **facts}
        scan = Scan(ScanState.COMPLETE, scanned_at=self.moment)
        return self.stored.put_header(msgspec.structs.replace(header, verdict=verdict, scan=scan, **known))

    def order_on(self, ref: ImageRef) -> Order | None:
        stored = self.stored.read_headers([ref]).get(ref)
        return stored.header.order if stored is not None else None

    def later(self, minutes: float) -> Estate:
        self.moment += timedelta(minutes=minutes)
        LocalReplication.arrive()
        return self

    # ---- what Lazaretto does

    def sweep(self, home: Repository = HOME, after: str | None = None, receives: int = 1) -> None:
        self.run(SweepRepository(Sweep.REPLICATION, home, self.moment, after=after), receives)

    def go_on(self, receives: int = 1) -> None:
        """With all that the sweep has left to other messages."""
        while self.sent_on:
            (message, _), *self.sent_on = self.sent_on
            self.run(message, receives)

    def run(self, message: SweepRepository, receives: int = 1) -> None:
        check_replication(message, self, receives=receives)  # type: ignore[arg-type]

    def check(
        self,
        ref: ImageRef,
        changed_at: datetime,
        due_at: datetime | None = None,
        receives: int = 1,
        place: Destination | None = None,
    ) -> None:
        self.take(ReplicationCheck(ref, due_at or changed_at + WITHIN, changed_at, destination=place), receives)

    def take(self, message: ReplicationCheck, receives: int = 1) -> None:
        check_replica(message, self, receives=receives)  # type: ignore[arg-type]

    # ---- what stands

    def replica(self, ref: ImageRef, place: Destination) -> Replica | None:
        found: Replica | None = self.replicas.of(ref.home).get((ref.digest, place))
        return found

    def stands(self, ref: ImageRef, place: Destination) -> tuple[str, ...]:
        """Status and notes in words; () where nothing is kept."""
        found = self.replica(ref, place)
        return (found.status.value, *(note.value for note in found.notes)) if found is not None else ()

    def seen(self, home: Repository = HOME) -> dict[str, Any]:
        result: Any = self.stored.repositories[home]["replication"]
        return result


@pytest.fixture(scope="module")
def aws() -> Iterator[Running]:
    with running() as held:
        yield held


@pytest.fixture
def estate(aws: Running) -> Estate:
    """Everything is copied to both destinations."""
    return copied_to_both(aws)


def copied_to_both(held: Running, takes: timedelta = timedelta()) -> Estate:
    made = Estate(held, takes)
    made.configure(*BOTH)
    made.let_in()
    return made
