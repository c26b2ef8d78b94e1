"""`lazaretto gate`: only an answer of ALLOW or WARN opens it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from chalicelib.cli import app
from chalicelib.cli.framework import client
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import TransientError
from tests.cli.conftest import Run
from tests.fakes.images import digest, image, ref
from tests.fakes.queries import NOW, FakeContext

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("decision", "code"),
    [("ALLOW", 0), ("WARN", 0), ("PENDING", 1), ("BLOCK", 1), ("QUARANTINE", 1)],
)
def test_the_exit_code_is_the_answer(run: Run, context: FakeContext, decision: str, code: int) -> None:
    context.queries.add(image(1, Decision(decision)))
    result = run("gate", "team/api:v1")
    assert result.exit_code == code
    assert decision in result.stdout
    assert json.loads(run("gate", "--json", f"team/api@{digest(1)}").stdout)["decision"] == decision


def test_an_image_without_a_verdict_is_pending(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1, verdict=None))
    result = run("gate", f"{HOST}/team/api:v1")
    assert (result.exit_code, "PENDING" in result.stdout) == (1, True)


@pytest.mark.parametrize("named", ["team/api:v9", f"team/api@{digest(9)}", "team/web:v1"])
def test_an_unknown_image_stays_outside(run: Run, context: FakeContext, named: str) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    assert run("gate", named).exit_code == 1
    assert json.loads(run("gate", "--json", named).stdout)["decision"] is None


def test_a_deleted_image_stays_outside(run: Run, context: FakeContext) -> None:
    header = image(1, Decision.ALLOW)
    context.queries.add(header)
    context.queries.stored[ref(1)] = image(1, Decision.ALLOW, exists=False)
    assert run("gate", f"team/api@{digest(1)}").exit_code == 1


def test_the_digest_counts_where_both_are_written(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    context.queries.add(image(2, Decision.BLOCK))
    assert run("gate", f"team/api:v1@{digest(2)}").exit_code == 1


@pytest.mark.parametrize(
    "named", ["team/api", "quay.io/team/api:v1", "TEAM/API:v1", "team/api@sha256:12", "", "public.ecr.aws/x:1"]
)
def test_what_names_no_image_is_bad_input(run: Run, context: FakeContext, named: str) -> None:
    assert run("gate", named).exit_code == 2


def test_no_answer_does_not_open_the_gate(context: FakeContext) -> None:
    result = CliRunner().invoke(app, ["gate", "team/api:v1", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 3
    assert "cannot be reached" in result.stderr


def test_a_busy_api_does_not_open_the_gate(run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_WAIT_SECONDS", 0)

    def busy(*args: object) -> None:
        raise TransientError("throttled", 0.001)

    context.queries.repositories = busy
    assert run("gate", "team/api:v1").exit_code == 3


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://", "http://x/?a=b"])
def test_an_address_that_is_none_is_bad_input(url: str) -> None:
    assert CliRunner().invoke(app, ["gate", "team/api:v1", "--url", url]).exit_code == 2


@pytest.mark.parametrize(
    ("named", "code"),
    [
        (f"{HOST}/team/api@{digest(9)}", 1),
        ("team/api:v9", 1),
        (f"{HOST}/team/apj@{digest(9)}", 2),
        ("team/apj:v1", 2),
        (f"{HOST.replace('1111', '1112')}/team/api@{digest(9)}", 2),
        (f"{HOST.replace('west', 'north')}/team/api@{digest(9)}", 2),
    ],
)
def test_a_mistyped_registry_or_repository_is_bad_input_and_an_unknown_image_is_none(
    run: Run, context: FakeContext, named: str, code: int
) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    context.queries.homes[ref(1).home] = {"reconcile_at": NOW}
    result = run("gate", named)
    assert result.exit_code == code
    assert ("did you mean" in result.stderr) is (code == 2)


def test_before_the_first_sweep_a_repository_that_is_not_known_yet_is_an_unknown_image(
    run: Run, context: FakeContext
) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    assert run("gate", f"{HOST}/team/apj@{digest(9)}").exit_code == 1
