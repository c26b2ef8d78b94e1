"""The settings of each repository are gathered and kept; what cannot be read is named, and taken for no change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.sweep_items import SettingsItems
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.image import Repository, Source
from chalicelib.domain.reconcile.posture import GatheredSettings, RepositorySettings, changed
from chalicelib.domain.reconcile.scan_rule import Frequency, FrequencyRule, RegistryScanning, Uncovered
from chalicelib.domain.replication.replica_case import Mutability
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.reconcile.gather_posture import Gathered, gather_posture
from tests.fakes.images import ACCOUNT, home
from tests.fakes.moto_aws import mock_aws
from tests.fakes.queries import NOW
from tests.fakes.table import FakeTable

HOME = home()
NAME = "lazaretto-test"
SETTINGS = RepositorySettings(
    scan_frequency="SCAN_ON_PUSH",
    mutability=Mutability("IMMUTABLE"),
    lifecycle='{"rules": []}',
    encryption="AES256",
    policy='{"Version": "2012-10-17", "Statement": []}',
)
ON_PUSH = RegistryScanning(Source.BASIC, (FrequencyRule(Frequency.SCAN_ON_PUSH, ("team/*",)),))


class FakeContext:
    """ECR is `settings` and `registry`, or raises them."""

    def __init__(self, posture: SettingsItems) -> None:
        self.settings_: Any = SETTINGS
        self.registry: Any = (ACCOUNT, ON_PUSH)
        self.posture, self.moment = posture, NOW
        self.table = FakeTable(self.now)
        self.clock = self.replication = self.scans = self

    def now(self) -> datetime:
        return self.moment

    def settings(self, repository: Repository) -> RepositorySettings:
        if isinstance(self.settings_, Exception):
            raise self.settings_
        found: RepositorySettings = self.settings_
        return found

    def configuration(self, registry: Repository) -> Any:
        if isinstance(self.registry, Exception):
            raise self.registry
        return self.registry

    def gather(self, repository: Repository = HOME) -> Gathered | None:
        return gather_posture(SweepRepository(Sweep.POSTURE, repository, self.moment), self)  # type: ignore[arg-type]

    def facts(self) -> dict[str, object]:
        return self.table.repositories.get(HOME, {})

    def kept(self) -> tuple[GatheredSettings, datetime]:
        found = self.posture.read(HOME)
        assert found is not None
        return found


@pytest.fixture
def context() -> Iterator[FakeContext]:
    with mock_aws():
        client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        yield FakeContext(SettingsItems(Dynamo(client, NAME, lambda _: None)))


def test_all_settings_are_kept_with_the_rule_that_scans_the_repository(context: FakeContext) -> None:
    assert context.gather() == Gathered()
    gathered, since = context.kept()
    assert (gathered.settings, since) == (SETTINGS, NOW)
    assert gathered.scanning is not None
    assert (gathered.scanning.frequency, gathered.scanning.filters) == (Frequency.SCAN_ON_PUSH, ("team/*",))
    assert context.facts()["posture_at"] == NOW


def test_a_second_run_that_finds_the_same_writes_nothing_but_its_time(context: FakeContext) -> None:
    context.gather()
    context.moment += timedelta(days=1)
    assert context.gather() == Gathered()
    assert context.kept()[1] == NOW
    assert context.facts()["posture_at"] == context.moment


def test_what_differs_from_the_last_time_is_named(context: FakeContext) -> None:
    context.gather()
    context.settings_ = msgspec.structs.replace(SETTINGS, mutability=Mutability("MUTABLE"), lifecycle=None)
    context.registry = (ACCOUNT, RegistryScanning(Source.BASIC))
    context.moment += timedelta(days=1)
    assert context.gather() == Gathered(changed=("lifecycle", "mutability", "scanning"))
    assert context.kept()[1] == context.moment


def test_what_could_not_be_read_is_named_and_is_no_change(context: FakeContext) -> None:
    context.gather()
    context.settings_ = msgspec.structs.replace(SETTINGS, policy=None, unread={"policy": "ecr:GetRepositoryPolicy"})
    context.registry = DeniedError("not permitted")
    assert context.gather() == Gathered(unread=("policy",))
    assert context.kept()[0].scanning is None
    context.settings_ = SETTINGS
    assert context.gather() == Gathered()


def test_whoever_looked_later_stands(context: FakeContext) -> None:
    context.gather()
    early = GatheredSettings(msgspec.structs.replace(SETTINGS, encryption="KMS"))
    assert not context.posture.keep(HOME, early, NOW - timedelta(seconds=1))
    assert context.kept()[0].settings == SETTINGS


def test_a_repository_that_is_gone_or_public_keeps_nothing(context: FakeContext) -> None:
    assert context.gather(Repository("public/acme", "us-east-1", "team/api")) is None
    context.settings_ = AbsentError("repository", "gone")
    assert context.gather() is None
    assert context.posture.read(HOME) is None
    assert context.facts() == {}


def test_a_look_up_that_failed_is_kept_as_failed_and_changes_nothing(context: FakeContext) -> None:
    context.gather()
    context.settings_ = UpstreamError("odd")
    assert context.gather() == Gathered(error="odd")
    assert context.kept() == (context.kept()[0], NOW)
    assert context.facts()["posture_at"] == NOW
    context.settings_ = TransientError("throttled")
    with pytest.raises(TransientError):
        context.gather()


def test_of_a_registry_that_is_not_ours_the_scanning_rules_are_not_known(context: FakeContext) -> None:
    context.registry = ("999999999999", ON_PUSH)
    context.gather()
    assert context.kept()[0].scanning is None


def test_an_uncovered_repository_says_why(context: FakeContext) -> None:
    context.settings_ = msgspec.structs.replace(SETTINGS, scan_frequency="MANUAL")
    context.registry = (
        ACCOUNT,
        RegistryScanning(Source.ENHANCED, (FrequencyRule(Frequency.SCAN_ON_PUSH, ("prod/*",)),)),
    )
    context.gather()
    scanning = context.kept()[0].scanning
    assert scanning is not None
    assert scanning.uncovered is Uncovered.NO_FILTER_MATCHES


def test_the_first_look_is_no_change() -> None:
    assert changed(None, GatheredSettings(SETTINGS)) == ()
