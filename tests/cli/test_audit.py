"""`lazaretto audit` and `audit verify` in a terminal: over the API, and over the table of a deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import msgspec
import pytest
from typer.testing import CliRunner

from chalicelib.adapters.dynamodb.schema import PK, SK, create_table
from chalicelib.cli import app
from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.audit.chain import Head
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.services.audit.send_daily_summary import send_daily_summary
from tests.cli.conftest import Run
from tests.fakes.images import image, ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.queries import NOW, FakeContext
from tests.services.audit.test_verify_audit import NAME, TODAY, Log

SLACK = {"channel": "slack"}
REGION = "eu-west-1"
QUARANTINE = ActionRecord(
    ref=ref(1),
    effect="QUARANTINE#2",
    wanted_at=NOW - timedelta(hours=2),
    kind="QUARANTINE",
    actor="rule:critical",
    reason="a critical one that is known to be exploited, in a package that has a fix: " + "openssl " * 12,
    at=NOW - timedelta(hours=1),
    before="ACTIVE; tags v1",
    after="ARCHIVED; tags v1",
    vulnerability_ids=("CVE-2026-0001",),
)
WAIVE = ActionRecord(None, "WAIVE#1", NOW, "WAIVE", "person:oncall", "not\x1b[31m reachable", NOW, subject="waiver/w-1")


@pytest.fixture
def records(context: FakeContext) -> None:
    context.queries.add(image(1))
    context.queries.records.update({ref(1): (QUARANTINE,), "waiver/w-1": (WAIVE,)})


@pytest.mark.usefixtures("records")
class TestShow:
    def test_a_record_is_told_in_at_most_a_hundred_columns_and_ends_with_its_id(self, run: Run) -> None:
        result = run("audit")
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert max(map(len, lines)) <= 100
        assert lines[0] == "2026-03-10T12:00:00Z WAIVE by person:oncall"
        assert action_id(WAIVE) in [line.strip() for line in lines]
        assert "  ACTIVE; tags v1 -> ARCHIVED; tags v1" in [line.rstrip() for line in lines]
        assert lines[-1].strip() == action_id(QUARANTINE)
        assert "\x1b" not in result.stdout

    def test_an_image_a_subject_a_day_and_an_actor_are_asked_for(self, run: Run) -> None:
        def kinds(*asked: str) -> list[str]:
            return [r["kind"] for r in json.loads(run("audit", *asked, "--json").stdout)["records"]]

        assert kinds() == ["WAIVE", "QUARANTINE"]
        assert kinds("team/api:v1") == kinds(f"team/api@{ref(1).digest}") == ["QUARANTINE"]
        assert kinds("show", "--subject", "waiver/w-1") == ["WAIVE"]
        assert kinds("--repository", "team/api") == ["QUARANTINE"]
        assert kinds("--actor", "person:*") == ["WAIVE"]
        assert kinds("--day", "2026-03-09") == []
        assert kinds("--kind", "QUARANTINE", "--since", "2026-03-10T00:00:00Z") == ["QUARANTINE"]

    def test_that_there_are_more_is_said(self, run: Run) -> None:
        assert "There are more" in run("audit", "--limit", 1).stdout
        assert "There are more" not in run("audit", "--all").stdout

    def test_nothing_is_said_to_be_nothing(self, run: Run) -> None:
        assert "no records match" in run("audit", "--day", "2026-03-01").stdout

    def test_what_cannot_be_asked_is_bad_input(self, run: Run) -> None:
        assert run("audit", "team/api").exit_code == 2
        assert run("audit", "team/api:v1", "--repository", "team/api").exit_code == 2
        assert run("audit", "--day", "yesterday").exit_code == 2
        assert run("audit", "team/api:v9").exit_code == 1


@pytest.mark.usefixtures("records")
class TestVerifyOne:
    def test_a_whole_log_is_a_good_answer(self, run: Run, context: FakeContext) -> None:
        context.queries.heads[NOW.date()] = {ref(1): context.queries.audit.heads([ref(1)])[ref(1)]}
        result = run("audit", "verify", "team/api:v1")
        assert result.exit_code == 0
        assert result.stdout.strip() == "The log is whole: 1 record, 1 copy of its head compared."
        assert json.loads(run("audit", "verify", "--subject", "waiver/w-1", "--json").stdout)["whole"] is True

    def test_a_broken_one_is_a_negative_answer_that_names_the_record(self, run: Run, context: FakeContext) -> None:
        audit = context.queries.audit
        (record,) = audit.stored(ref(1))
        audit.altered[ref(1)] = [msgspec.structs.replace(record, body=b"{}")]
        result = run("audit", "verify", "team/api:v1")
        assert result.exit_code == 1
        assert f"  record 1 of {ref(1)} was changed" in result.stdout.splitlines(), "in one line, to be copied"
        said = run("audit", "verify", "team/api:v1", "--json")
        assert (said.exit_code, json.loads(said.stdout)["problems"][0]["number"]) == (1, 1)

    def test_a_copy_of_its_head_gives_a_chain_away_that_is_gone(self, run: Run, context: FakeContext) -> None:
        context.queries.heads[NOW.date()] = {"fuse": Head(2, b"x")}
        assert run("audit", "verify", "--subject", "fuse").exit_code == 1

    def test_days_are_for_the_whole_log_and_places_for_an_image(self, run: Run) -> None:
        assert run("audit", "verify", "team/api:v1", "--since", "2026-03-01").exit_code == 2
        assert run("audit", "verify", "--region", REGION).exit_code == 2


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """A deployment of stage `proof`: its table is the one the log lies in."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "LAZARETTO_STAGE": "proof",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        client = boto3.client("dynamodb", REGION)
        create_table(client, NAME)
        for name in ("scans", "actions", "alerts", "sweeps"):
            boto3.client("sqs", REGION).create_queue(QueueName=f"lazaretto-proof-{name}")
        yield Log(client)


SINCE = ("--since", "2026-03-08", "--until", "2026-03-10")


class TestVerifyByRoot:
    """The root is all that the attacker could not change: it left the account with the daily summary."""

    def test_a_log_that_was_left_alone_is_whole_up_to_the_day_of_the_root(self, log: Log) -> None:
        result = verify("--root", root_of(log))
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == "The log up to 2026-03-10 is whole: 3 chains, 12 records."
        said = json.loads(verify("--root", root_of(log), "--json").stdout)
        assert (said["whole"], said["root_problem"]) == (True, None)

    def test_what_went_on_after_the_root_is_no_forgery(self, log: Log) -> None:
        root = root_of(log)
        log.record("policy", 9)
        log.table.put_checkpoints(TODAY + timedelta(days=1), log.audit.heads(["policy"]))
        assert verify("--root", root).exit_code == 0

    def test_a_tail_that_was_cut_with_its_head_is_named(self, log: Log) -> None:
        root = root_of(log)
        cut(log)
        result = verify("--root", root)
        assert result.exit_code == 1
        assert "policy ends with record 2, and had 4 when its head was copied" in result.stdout

    def test_a_chain_that_was_removed_with_its_head_is_named(self, log: Log) -> None:
        root = root_of(log)
        for item in [*log.items("policy"), log.head("policy")]:
            log.delete(item)
        result = verify("--root", root)
        assert result.exit_code == 1
        assert "policy ends with record 0, and had 4 when its head was copied" in result.stdout

    def test_copies_that_were_written_anew_with_their_chain_show_by_the_root_alone(self, log: Log) -> None:
        root = root_of(log)
        cut(log)
        forget_copies(log)
        log.copy()
        assert verify(*SINCE).exit_code == 0, "without the root it looks whole"
        result = verify("--root", root)
        assert result.exit_code == 1
        assert "the copied heads of 2026-03-10 are not those that the root of that day was made of" in result.stdout

    def test_so_they_do_where_all_roots_were_made_anew(self, log: Log) -> None:
        root = root_of(log)
        cut(log)
        forget_copies(log, "ROOT#")
        log.copy()
        assert root_of(log) != root
        result = verify("--root", root, "--json")
        assert result.exit_code == 1
        said = json.loads(result.stdout)
        assert (said["whole"], said["broken"]) == (False, 0)
        assert said["root_problem"].startswith("no day has this root")

    def test_a_log_without_copies_has_no_root(self, log: Log) -> None:
        forget_copies(log, "ROOT#")
        result = verify("--root", "ab" * 32)
        assert result.exit_code == 1
        assert "no day has this root" in result.stdout

    @pytest.mark.parametrize(
        "options",
        [
            ("--root", "ab"),
            ("--root", "not a root"),
            ("--root", "ab" * 32, "--since", "2026-03-08"),
            ("--root", "ab" * 32, "--subject", "policy"),
        ],
    )
    def test_a_root_that_is_none_and_a_part_of_the_log_are_bad_input(self, log: Log, options: tuple[str, ...]) -> None:
        assert verify(*options).exit_code == 2


def root_of(log: Log) -> str:
    """As a daily summary of the next day tells it."""
    told: list[Any] = []
    context: Any = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: NOW + timedelta(days=1)),
        table=log.table,
        queries=SimpleNamespace(audit=log.whole_audit, all_rows=lambda: iter(())),
        rules=SimpleNamespace(current=lambda: Rules(parse_policy({"version": 1, "rules": [], "notify": [SLACK]}))),
        outbox=SimpleNamespace(send_all=lambda queue, messages: told.extend(messages)),
    )
    send_daily_summary(TODAY, context)
    (root,) = (line.rpartition(" ")[2] for line in told[0].alert.notes if line.startswith("Root of the audit log"))
    return str(root)


def cut(log: Log) -> None:
    items, head = log.items("policy"), log.head("policy")
    for item in items[2:]:
        log.delete(item)
    log.write_anew(items[:2], head)


def forget_copies(log: Log, *more: str) -> None:
    for item in log.client.scan(TableName=NAME)["Items"]:
        if item[SK]["S"].startswith(("HEADS#", *more)):
            log.delete(item)


def verify(*options: str) -> Any:
    return CliRunner().invoke(app, ["audit", "verify", *options])


class TestVerifyAll:
    def test_the_whole_log_is_proved_from_the_table(self, log: Log) -> None:
        result = verify(*SINCE)
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == "The log since 2026-03-08 is whole: 3 chains, 12 records."
        said = json.loads(verify(*SINCE, "--json").stdout)
        assert said == {
            "whole": True,
            "since": "2026-03-08",
            "until": "2026-03-10",
            "chains": 3,
            "records": 12,
            "broken": 0,
            "problems": [],
        }

    def test_the_first_broken_record_is_named(self, log: Log) -> None:
        log.delete(log.items("policy")[1])
        result = verify(*SINCE)
        assert result.exit_code == 1
        assert "is BROKEN in 1 of 3 chains:" in result.stdout
        assert "  record 2 of policy is missing" in [line.rstrip() for line in result.stdout.splitlines()]
        assert json.loads(verify(*SINCE, "--json").stdout)["problems"] == [
            {"chain": "policy", "number": 2, "problem": "record 2 of policy is missing"}
        ]

    def test_what_was_written_anew_shows_by_the_copies(self, log: Log) -> None:
        items, head = log.items("policy"), log.head("policy")
        for item in items[2:]:
            log.delete(item)
        log.write_anew(items[:2], head)
        result = verify(*SINCE)
        assert result.exit_code == 1
        assert "ends with record 2, and had 4 when its head was copied" in result.stdout

    def test_it_reads_and_writes_nothing(self, log: Log) -> None:
        def stored() -> list[Any]:
            return sorted(log.client.scan(TableName=NAME)["Items"], key=lambda i: (i[PK]["S"], i[SK]["S"]))

        before = stored()
        assert verify(*SINCE).exit_code == 0
        assert stored() == before

    def test_without_days_it_is_the_last_ninety(self, log: Log) -> None:
        said = json.loads(verify("--json").stdout)
        today = datetime.now(UTC).date()
        assert timedelta(0) <= today - datetime.fromisoformat(said["until"]).date() <= timedelta(days=1)
        first, last = (datetime.fromisoformat(said[name]) for name in ("since", "until"))
        assert last - first == timedelta(days=90)

    @pytest.mark.parametrize(
        "options",
        [("--since", "yesterday"), ("--since", "2026-03-11", "--until", "2026-03-10"), ("--since", "1990-01-01")],
    )
    def test_days_that_are_none_are_bad_input(self, log: Log, options: tuple[str, ...]) -> None:
        assert verify(*options).exit_code == 2

    def test_a_stage_that_is_not_deployed_is_a_negative_answer(self, log: Log) -> None:
        result = verify(*SINCE, "--stage", "prod")
        assert result.exit_code == 1
        assert "lazaretto-prod-scans" in result.stderr
