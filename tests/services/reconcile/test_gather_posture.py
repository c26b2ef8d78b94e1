"""The settings of each repository are gathered and kept; what cannot be read is named, and taken for no change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import boto3
import msgspec
import pytest
from moto import mock_aws

from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.settings_items import SettingsItems
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.image import Repository, Source
from chalicelib.domain.reconcile.posture import GatheredSettings, Settings, changed
from chalicelib.domain.reconcile.scan_rule import Frequency, FrequencyRule, RegistryScanning, Uncovered
from chalicelib.domain.replication.replica_case import Mutability
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.reconcile.gather_posture import Gathered, gather_posture
from tests.fakes.images import ACCOUNT, home
from tests.fakes.queries import NOW
from tests.fakes.table import FakeTable

HOME = home()
NAME = "lazaretto-test"
SETTINGS = Settings(
    scan_frequency="SCAN_ON_PUSH",
    mutability=Mutability("IMMUTABLE"),
    lifecycle='{"rules": []}',
    encryption="AES256",
    policy='{"Version": "2012-10-17", "Statement": []}',
)
ON_PUSH = RegistryScanning(Source.BASIC, (FrequencyRule(Frequency.SCAN_ON_PUSH, ("team/*",)),))


class House:
    """ECR is `settings` and `registry`, or raises them."""

    def __init__(self, posture: SettingsItems) -> None:
        self.settings_: Any = SETTINGS
        self.registry: Any = (ACCOUNT, ON_PUSH)
        self.posture, self.moment = posture, NOW
        self.table = FakeTable(self.now)
        self.clock = self.replication = self.scans = self

    def now(self) -> datetime:
        return self.moment

    def settings(self, repository: Repository) -> Settings:
        if isinstance(self.settings_, Exception):
            raise self.settings_
        found: Settings = self.settings_
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
def house() -> Iterator[House]:
    with mock_aws():
        client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, NAME)
        yield House(SettingsItems(client, NAME, sleep=lambda _: None))


def test_all_settings_are_kept_with_the_rule_that_scans_the_repository(house: House) -> None:
    assert house.gather() == Gathered()
    gathered, since = house.kept()
    assert (gathered.settings, since) == (SETTINGS, NOW)
    assert gathered.scanning is not None
    assert (gathered.scanning.frequency, gathered.scanning.filters) == (Frequency.SCAN_ON_PUSH, ("team/*",))
    assert house.facts()["posture_at"] == NOW


def test_a_second_run_that_finds_the_same_writes_nothing_but_its_time(house: House) -> None:
    house.gather()
    house.moment += timedelta(days=1)
    assert house.gather() == Gathered()
    assert house.kept()[1] == NOW
    assert house.facts()["posture_at"] == house.moment


def test_what_differs_from_the_last_time_is_named(house: House) -> None:
    house.gather()
    house.settings_ = msgspec.structs.replace(SETTINGS, mutability=Mutability("MUTABLE"), lifecycle=None)
    house.registry = (ACCOUNT, RegistryScanning(Source.BASIC))
    house.moment += timedelta(days=1)
    assert house.gather() == Gathered(changed=("lifecycle", "mutability", "scanning"))
    assert house.kept()[1] == house.moment


def test_what_could_not_be_read_is_named_and_is_no_change(house: House) -> None:
    house.gather()
    house.settings_ = msgspec.structs.replace(SETTINGS, policy=None, unread={"policy": "ecr:GetRepositoryPolicy"})
    house.registry = DeniedError("not permitted")
    assert house.gather() == Gathered(unread=("policy",))
    assert house.kept()[0].scanning is None
    house.settings_ = SETTINGS
    assert house.gather() == Gathered()


def test_whoever_looked_later_stands(house: House) -> None:
    house.gather()
    early = GatheredSettings(msgspec.structs.replace(SETTINGS, encryption="KMS"))
    assert not house.posture.keep(HOME, early, NOW - timedelta(seconds=1))
    assert house.kept()[0].settings == SETTINGS


def test_a_repository_that_is_gone_or_public_keeps_nothing(house: House) -> None:
    assert house.gather(Repository("public/acme", "us-east-1", "team/api")) is None
    house.settings_ = AbsentError("repository", "gone")
    assert house.gather() is None
    assert house.posture.read(HOME) is None
    assert house.facts() == {}


def test_a_look_up_that_failed_is_kept_as_failed_and_changes_nothing(house: House) -> None:
    house.gather()
    house.settings_ = UpstreamError("odd")
    assert house.gather() == Gathered(error="odd")
    assert house.kept() == (house.kept()[0], NOW)
    assert house.facts()["posture_at"] == NOW
    house.settings_ = TransientError("throttled")
    with pytest.raises(TransientError):
        house.gather()


def test_of_a_registry_that_is_not_ours_the_scanning_rules_are_not_known(house: House) -> None:
    house.registry = ("999999999999", ON_PUSH)
    house.gather()
    assert house.kept()[0].scanning is None


def test_an_uncovered_repository_says_why(house: House) -> None:
    house.settings_ = msgspec.structs.replace(SETTINGS, scan_frequency="MANUAL")
    house.registry = (ACCOUNT, RegistryScanning(Source.ENHANCED, (FrequencyRule(Frequency.SCAN_ON_PUSH, ("prod/*",)),)))
    house.gather()
    scanning = house.kept()[0].scanning
    assert scanning is not None
    assert scanning.uncovered is Uncovered.NO_FILTER_MATCHES


def test_the_first_look_is_no_change() -> None:
    assert changed(None, GatheredSettings(SETTINGS)) == ()
