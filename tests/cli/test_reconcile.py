"""`lazaretto reconcile` before a played AWS: what it shows, what it sends, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.aws import Refusal
from bench.generate import DAY, FIRST_DAY, Plan
from bench.swept import Listed, SweptPlace, shared
from chalicelib.cli import app, reconcile
from chalicelib.cli.framework.operator import Operator
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.difference import DifferenceKind
from chalicelib.domain.reconcile.retirement import Retirement
from chalicelib.errors import DeniedError, TransientError
from tests.services.sweeping import reconcile as swept_once
from tests.services.sweeping import swept

SMALL = Plan(images=4, findings=12)
Run = Callable[..., Result]


@pytest.fixture
def place() -> Iterator[SweptPlace]:
    with swept(Listed(SMALL, shared(SMALL, 2))) as made:
        yield made


@pytest.fixture
def run(place: SweptPlace, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(reconcile, "operator", lambda stage: Operator(place.context, "arn:aws:iam::1:user/me"))
    return lambda *options: CliRunner().invoke(app, ["reconcile", *options])


def exists(place: SweptPlace) -> int:
    return sum(1 for _ in place.context.queries.all_rows())


def test_an_empty_table_is_filled_by_the_command_alone(place: SweptPlace, run: Run) -> None:
    result = run("--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (said["repositories"], said["images"], said["lost_events"]) == (2, 4, 0)
    assert said["found"] == {"MISSING": 4, "SCAN_UNHEARD": 4}
    assert exists(place) == 0, "what mends it is the deployment's"
    place.settle()
    assert exists(place) == 4
    assert [alert.title for alert in place.channel.alerts] == ["Summary: the first fill"]


def test_a_retired_registry_is_not_compared_before_it_is_watched_again(place: SweptPlace, run: Run) -> None:
    (own,) = place.context.registries
    place.context.retirements.put(Retirement(own, "123456789012", "ann", "closed", place.clock.now()))
    result = run()
    assert result.exit_code == 1
    assert "is retired: name it in the parameter Registries" in " ".join(result.output.split())
    assert not place.aws.sent
    assert list(place.context.queries.repositories().items) == []


def test_a_dry_run_shows_each_difference_and_mends_none(place: SweptPlace, run: Run) -> None:
    result = run("--dry-run")
    assert result.exit_code == 0
    assert "MISSING" in result.stdout
    assert "pushed, and not known" in result.stdout
    assert "4 images in 2 repositories compared: 8 differences" in result.stdout
    assert "nothing is stored, COMPLETE it is" in result.stdout
    assert "Dry run: nothing was repaired." in result.stdout
    assert not place.aws.sent
    assert exists(place) == 0
    listed = json.loads(run("--dry-run", "--json").stdout)["differences"]
    assert {d["kind"] for d in listed} == {"MISSING", "SCAN_UNHEARD"}
    assert all(d["image"].startswith("123456789012.dkr.ecr.") for d in listed)


def test_one_repository_is_compared_alone(place: SweptPlace, run: Run) -> None:
    said = json.loads(run("--repository", "team/service-1", "--json").stdout)
    assert (said["repositories"], said["images"], said["found"]["MISSING"]) == (1, 2, 2)
    place.settle()
    assert {row.ref.repository for row in place.context.queries.all_rows()} == {"team/service-1"}
    assert said["lost_events"] == 0
    assert [alert.title for alert in place.channel.alerts] == ["Summary: the first fill"], "not one for each image"


def test_one_repository_that_was_compared_before_is_told_image_by_image(place: SweptPlace, run: Run) -> None:
    run("--repository", "team/service-1")
    place.settle()
    place.channel.alerts.clear()
    later = Listed(Plan(images=6, findings=12), shared(Plan(images=6, findings=12), 2))
    place.aws.shown = later
    place.clock.forward(6 * 3_600)
    said = json.loads(run("--repository", "team/service-1", "--json").stdout)
    assert said["lost_events"] > 0
    place.settle()
    assert "Summary: the first fill" not in [alert.title for alert in place.channel.alerts]


def test_a_repository_nobody_knows_is_a_negative_answer(run: Run) -> None:
    result = run("--repository", "team/none")
    assert result.exit_code == 1
    assert "no repository team/none" in result.stderr


def test_a_registry_can_be_named(place: SweptPlace, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.loads(run("--registry", "eu-west-1", "--dry-run", "--json").stdout)
    assert (said["repositories"], said["unlisted"]) == (2, [])
    for wrong, problem in (
        ("europe", "'europe' is neither a Region"),
        ("444455556666/eu-west-1", "LAZARETTO_ACCOUNT_ROLES names no role in that account"),
    ):
        result = run("--registry", wrong)
        assert (result.exit_code, place.aws.sent) == (2, [])
        assert problem in result.stderr


def test_a_registry_that_cannot_be_listed_does_not_stop_the_others(
    place: SweptPlace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, listed = RegistryPlace("us-east-1"), place.context.inventory.repositories
    monkeypatch.setattr(place.context, "settings", msgspec.structs.replace(place.context.settings, registries=(other,)))

    def closed(asked: RegistryPlace, after: str | None = None) -> Any:
        if asked == other:
            raise DeniedError("list the repositories: access denied")
        return listed(asked, after)

    monkeypatch.setattr(place.context.inventory, "repositories", closed)
    result = run("--dry-run", "--json")
    assert result.exit_code == 3
    said = json.loads(result.stdout)
    assert said["repositories"] == 2
    assert said["unlisted"] == [{"registry": "us-east-1", "error": "list the repositories: access denied"}]
    assert "registry us-east-1: not compared: list the repositories" in run("--dry-run").stderr


def test_a_registry_without_a_difference_says_so(place: SweptPlace, run: Run) -> None:
    swept_once(place)
    place.clock.forward(3_600)
    result = run()
    assert result.exit_code == 0
    assert "4 images in 2 repositories compared: 0 differences, 0 events were lost." in result.stdout
    assert "mends" not in result.stdout
    assert run("--dry-run").stdout.startswith("4 images in 2 repositories compared: 0 differences"), "no empty table"


def test_what_could_not_be_listed_is_said_and_is_a_failure(
    place: SweptPlace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = place.aws._images  # type: ignore[attr-defined]

    def refuse(asked: dict[str, Any]) -> Any:
        if asked["repositoryName"] == "team/service-0":
            raise Refusal("AccessDeniedException")
        return images(asked)

    monkeypatch.setattr(place.aws, "_images", refuse)
    result = run("--json")
    assert result.exit_code == 3
    said = json.loads(result.stdout)
    assert [e["repository"] for e in said["errors"]] == ["team/service-0"]
    assert said["found"]["MISSING"] == 2, "the other one is compared all the same"
    assert "team/service-0: not compared" in run().stderr


def test_a_repository_that_is_throttled_is_left_to_the_deployment_and_the_others_are_compared(
    place: SweptPlace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, refused = place.context.inventory.images, iter([TransientError("slow down")])

    def throttled(home: Repository) -> Any:
        if home.name == "team/service-0" and (error := next(refused, None)) is not None:
            raise error
        return images(home)

    monkeypatch.setattr(place.context.inventory, "images", throttled)
    result = run()
    assert result.exit_code == 0
    assert "team/service-0: the deployment goes on with the rest of it" in result.stderr
    assert "2 images in 2 repositories compared: 4 differences" in result.stdout
    place.settle()
    assert exists(place) == 4
    assert [alert.title for alert in place.channel.alerts] == ["Summary: the first fill"]


def test_a_dry_run_leaves_nothing_to_the_deployment(
    place: SweptPlace, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttled(_: Repository) -> Any:
        raise TransientError("slow down")

    monkeypatch.setattr(place.context.inventory, "images", throttled)
    result = run("--dry-run")
    assert result.exit_code == 3
    assert "team/service-1: not compared: slow down" in result.stderr
    assert not place.aws.sent


def test_every_kind_of_difference_is_explained() -> None:
    assert set(reconcile.MEANING) == set(DifferenceKind)


def test_how_many_images_are_proven_to_be_scanned_is_said_with_the_causes(place: SweptPlace, run: Run) -> None:
    first = run()
    assert "repairs what differs within minutes. A summary is sent when all is decided." in first.stdout
    assert "0 images are proven to be scanned, 4 not: NEW 4." in first.stdout
    assert "0 events were lost" in first.stdout
    place.settle()
    assert "4 images are proven to be scanned." in run().stdout
    said = json.loads(run("--json").stdout)
    assert (said["proven"], said["unproven"], said["scans_asked_for"]) == (4, {}, 0)


def test_scans_that_were_asked_for_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = "version: 1\nscanning: {rescan_after_days: 7}\n"
    with swept(Listed(SMALL, shared(SMALL, 2), basic=True), at=FIRST_DAY + 8 * DAY, policy=policy) as place:
        swept_once(place)
        monkeypatch.setattr(reconcile, "operator", lambda stage: Operator(place.context, "arn:aws:iam::1:user/me"))
        assert "4 scans were asked for." in CliRunner().invoke(app, ["reconcile"]).stdout
        assert "asked for" not in CliRunner().invoke(app, ["reconcile"]).stdout
