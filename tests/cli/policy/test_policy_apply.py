"""`lazaretto policy apply` against a deployment of its own: table and queues as the template names them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from typer.testing import CliRunner

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.stores.policy_file import DEFAULT_POLICY, default_policy, read_policy
from chalicelib.cli import app
from chalicelib.cli.framework import options, output
from chalicelib.cli.policy import apply as policy_apply
from chalicelib.context import AppContext
from chalicelib.domain.events.message import Decide, Delivery, WhatIf
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Hold
from chalicelib.domain.images.image import Scan, ScanState, Source, StorageStatus
from chalicelib.domain.policy.review import policy_differences
from chalicelib.domain.whatif.report import Job
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.policy.evaluate_shard import evaluate_shard
from chalicelib.services.policy.roll_out_policy import roll_out_policy
from chalicelib.services.policy.start_what_if import start_what_if
from chalicelib.settings import Settings
from tests.fakes.images import ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.queries import NOW

REGION, TABLE = "eu-west-1", "lazaretto-dev"
FIRST = "version: 1\nrules: [{id: all, match: {repository: '*'}, decision: block}]\n"
SECOND = FIRST.replace("block", "warn")
BAD = "version: 1\nmod: enforce\n"
Apply = Callable[..., Result]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_DEFAULT_REGION", REGION)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.delenv("LAZARETTO_STAGE", raising=False)
    with mock_aws():
        session = boto3.Session(region_name=REGION)
        create_table(session.client("dynamodb"), TABLE)
        for name in ("scans", "actions", "alerts", "sweeps"):
            session.client("sqs").create_queue(QueueName=f"lazaretto-dev-{name}")
        yield session


@pytest.fixture
def context(aws: Any) -> AppContext:
    sqs = aws.client("sqs")
    urls = {
        f"queue_{n}": sqs.get_queue_url(QueueName=f"lazaretto-dev-{n}")["QueueUrl"]
        for n in ("scans", "actions", "alerts", "sweeps")
    }
    return AppContext(Settings(table=TABLE, **urls), Sessions(session=aws))


@pytest.fixture
def apply(aws: Any, tmp_path: Path) -> Apply:
    """`consent`: with `--yes --reason`, as a script gives it."""

    def run(text: str | None, *options: object, consent: bool = True, typed: str | None = None) -> Result:
        file = tmp_path / "policy.yaml"
        file.write_text(text or "")
        given = [str(file)] if text is not None else []
        given += ["--yes", "--reason", "a test"] if consent else []
        return CliRunner().invoke(app, ["policy", "apply", *given, *map(str, options)], input=typed)

    return run


@pytest.fixture(autouse=True)
def asked(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The what-ifs that were started; the functions evaluate them while the command waits."""
    jobs: list[Job] = []

    def start(*given: Any) -> Job:
        jobs.append(start_what_if(*given))
        return jobs[-1]

    def work(_: float) -> None:
        for shard in range(SHARDS):
            evaluate_shard(WhatIf(jobs[-1].id, shard), context)

    monkeypatch.setattr(policy_apply, "start_what_if", start)
    monkeypatch.setattr(policy_apply.time, "sleep", work)
    return jobs


def sent(context: AppContext) -> list[Any]:
    """What lies in `sweeps`, which is emptied, beside what-ifs."""
    sqs, bodies = context.sessions.client("sqs"), []
    while messages := sqs.receive_message(
        QueueUrl=context.settings.queue_sweeps, MaxNumberOfMessages=10, VisibilityTimeout=600
    ).get("Messages"):
        bodies += [json.loads(message["Body"]) for message in messages]
    return [body for body in bodies if body["type"] != "what-if"]


def records(context: AppContext) -> list[Any]:
    return [row.record for row in context.queries.actions("policy")]


def test_the_difference_is_shown_and_the_policy_put_recorded_and_on_its_way(apply: Apply, context: AppContext) -> None:
    assert apply(FIRST).exit_code == 0
    result = apply(SECOND, "--reason", "as agreed")
    assert result.exit_code == 0
    assert "Against policy 1, which is in force:\n~ rules.all.decision: block -> warn\n" in result.stdout
    assert "policy 2 is in force" in result.stdout
    assert "lazaretto policy apply --version 1" in result.stdout
    assert context.rules.fresh().policy.number == 2
    assert [message["type"] for message in sent(context)] == ["catch-up", "catch-up"]
    _, second = records(context)
    assert second.actor.startswith("person:arn:aws:sts::")
    assert second.reason == "as agreed; rules.all.decision: block -> warn"


def test_what_it_would_do_to_the_images_is_shown_before_it_is_applied(apply: Apply, context: AppContext) -> None:
    for number in range(3):
        image(context, number)
    result = apply(FIRST)
    shown, _, put = result.stdout.partition("It closes 3 images that today's policy does not")
    assert "Against the policy of the bundle" in shown
    assert "policy 1 is in force" in put
    assert "what-if" not in apply(FIRST.replace("block", "warn"), "--skip-what-if").stdout


def test_as_many_releases_as_were_shown_pass_the_brake_and_none_that_nobody_has_seen(
    apply: Apply, context: AppContext
) -> None:
    quarantining = FIRST.replace("decision: block", "decision: quarantine") + "mode: enforce\n"
    blocking, opening = FIRST + "mode: enforce\n", SECOND + "mode: enforce\n"
    for number in range(3):
        image(context, number, storage=StorageStatus.ARCHIVED, hold=Hold("archive", 1, NOW))
    left = []
    given = ((quarantining, ""), (blocking, ""), (quarantining, ""), (opening, "--skip-what-if"), (opening, ""))
    for text, unseen in given:
        result = apply(text, *filter(None, [unseen]))
        for number in range(3):
            receive_batch([Delivery(str(number), Decide(ref(number), "policy"))], context)
        now = context.clock.now()
        left.append((context.table.read_fuse(releases=True).as_of(now).left, "pass the brake" in result.stdout))
    assert left == [(0, False), (3, True), (0, False), (0, False), (0, False)], "each policy by its own count"


def test_a_policy_that_another_has_overtaken_is_not_said_to_be_in_force(
    apply: Apply, context: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = policy_apply.apply_policy

    def overtaken(text: str, by: str, place: Any, **how: Any) -> Any:
        monkeypatch.setattr(policy_apply, "apply_policy", put)
        outbox = place.outbox
        send_too = outbox.send

        def send(*arguments: Any, **named: Any) -> None:
            monkeypatch.setattr(outbox, "send", send_too)
            place.rules.put_policy(SECOND, "somebody else")
            send_too(*arguments, **named)

        monkeypatch.setattr(outbox, "send", send)
        return put(text, by, place, **how)

    monkeypatch.setattr(policy_apply, "apply_policy", overtaken)
    assert "policy 1 was put, and policy 2 is in force by now" in apply(FIRST).stdout


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize("consent", [[], ["--yes"], ["--yes", "--reason", " "], ["--reason", "as agreed"]])
def test_without_a_terminal_only_yes_with_a_reason_applies_it(
    apply: Apply, context: AppContext, asked: list[Job], consent: list[str], as_json: list[str]
) -> None:
    result = apply(FIRST, *consent, *as_json, consent=False, typed="yes\n")
    assert (result.exit_code, "nothing was applied" in result.stderr, result.stdout) == (2, True, "")
    assert (context.rules.fresh().policy_version, sent(context), records(context), asked) == (0, [], [], [])


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize("typed", ["y\n", "YES\n", "\n", "no\n", "yes please\n", ""])
def test_at_a_terminal_only_a_typed_yes_applies_it(
    apply: Apply, context: AppContext, monkeypatch: pytest.MonkeyPatch, typed: str, as_json: list[str]
) -> None:
    monkeypatch.setattr(output, "is_interactive", lambda: True)
    result = apply(FIRST, *as_json, consent=False, typed=typed)
    assert (result.exit_code, "nothing was applied" in result.stderr) == (2, True)
    assert (context.rules.fresh().policy_version, sent(context), records(context)) == (0, [], [])
    assert apply(FIRST, *as_json, consent=False, typed="yes\n").exit_code == 0
    assert context.rules.fresh().policy_version == 1


def test_a_what_if_that_makes_no_progress_applies_nothing_unless_it_is_skipped(
    apply: Apply, context: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = iter(range(100))
    monkeypatch.setattr(policy_apply.time, "sleep", lambda _: None)
    monkeypatch.setattr(policy_apply.time, "monotonic", lambda: 60.0 * next(minutes))
    result = apply(FIRST)
    assert (result.exit_code, "Nothing was applied; --skip-what-if" in result.stderr) == (3, True)
    assert context.rules.fresh().policy_version == 0
    assert apply(FIRST, "--skip-what-if").exit_code == 0
    assert context.rules.fresh().policy_version == 1


def test_the_record_of_the_first_policy_holds_its_difference_to_the_built_in_one(
    apply: Apply, context: AppContext
) -> None:
    assert apply(FIRST).exit_code == 0
    (record,) = records(context)
    differences = policy_differences(default_policy().document, read_policy(FIRST).document)
    assert differences
    assert all(str(difference) in record.reason for difference in differences)


def test_a_dry_run_shows_the_same_and_changes_nothing(apply: Apply, context: AppContext) -> None:
    result = apply(FIRST, "--dry-run", consent=False)
    assert result.exit_code == 0
    assert "0 images, as of" in result.stdout
    assert "Against the policy of the bundle" in result.stdout
    assert "Dry run: nothing was changed." in result.stdout
    assert (context.rules.fresh().policy_version, sent(context), records(context)) == (0, [], [])


def test_a_file_that_does_not_load_is_refused_before_anybody_is_asked(
    apply: Apply, context: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_apply, "operator", lambda stage: pytest.fail("AWS was asked"))
    result = apply(BAD)
    assert (result.exit_code, "policy.yaml:2: mod: unknown key `mod`" in result.stderr) == (2, True)
    assert context.rules.fresh().policy_version == 0


def test_what_says_the_same_is_not_put_again(apply: Apply, context: AppContext) -> None:
    apply(FIRST)
    result = apply(f"# in other words\n{FIRST}")
    assert (result.exit_code, "Nothing to do: policy 1 says that already." in result.stdout) == (0, True)
    assert context.rules.fresh().policy_version == 1


def test_after_another_number_it_is_a_conflict(apply: Apply, context: AppContext) -> None:
    apply(FIRST)
    result = apply(SECOND, "--after", 0)
    assert (result.exit_code, result.stderr) == (1, "policy 1 is in force, not number 0\n")
    assert apply(SECOND, "--after", 1).exit_code == 0
    assert context.rules.fresh().policy_version == 2


def test_what_somebody_else_puts_while_the_difference_is_read_is_not_overwritten(
    apply: Apply, context: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person who was asked says yes to a difference that is none any more."""

    def asked(*_: object, **__: object) -> str:
        context.rules.put_policy(FIRST, "another")
        return "yes"

    monkeypatch.setattr(output, "is_interactive", lambda: True)
    monkeypatch.setattr(policy_apply.typer, "prompt", asked)
    monkeypatch.setattr(options, "read_candidate", lambda file, as_json: options.Candidate(SECOND, read_policy(SECOND)))
    with pytest.raises(Exception, match="policy 1 is in force, not 0"):
        policy_apply.apply_command.__wrapped__("policy.yaml", stage="dev")  # type: ignore[attr-defined]
    assert context.rules.fresh().policy_version == 1


def test_a_former_policy_and_that_of_the_bundle_are_put_again_by_number(apply: Apply, context: AppContext) -> None:
    apply(FIRST)
    apply(SECOND)
    assert apply(None, "--version", 1).exit_code == 0
    assert context.rules.read_policy(3).text == FIRST
    assert apply(None, "--version", 0).exit_code == 0
    assert context.rules.read_policy(4).text == DEFAULT_POLICY.read_text()
    assert apply(None, "--version", 9).exit_code == 1
    assert apply(None).exit_code == 2
    assert apply(FIRST, "--version", 1).exit_code == 2


def test_a_stored_policy_that_does_not_load_any_more_is_said_and_replaced(apply: Apply, context: AppContext) -> None:
    apply(FIRST)
    context.rules._read = lambda text, *, number=0: default_policy()  # type: ignore[attr-defined]
    context.rules.put_policy(BAD, "who knew fewer mistakes")
    result = apply(SECOND)
    assert (result.exit_code, "the policy in force no longer loads" in result.stdout) == (0, True)
    assert context.rules.read_policy(3).text == SECOND


def test_doubts_are_told_and_json_is_one_line(apply: Apply, context: AppContext) -> None:
    doubtful = "version: 1\nstale: {decision: allow}\n"
    assert apply(doubtful, "--dry-run").stderr == "warning: stale.decision: a lapsed scan will pass as clean\n"
    said = json.loads(apply(FIRST, "--json").stdout)
    assert (said["changed"], said["version"], said["former"], said["dry_run"]) == (True, 1, 0, False)
    assert said["what_if"]["totals"]["images"] == 0
    (added,) = [difference for difference in said["differences"] if difference["path"] == "rules.all"]
    assert (added["kind"], added["before"], added["after"]["decision"]) == ("ADDED", None, "block")


def test_a_stage_that_is_not_there_is_named(apply: Apply) -> None:
    result = apply(FIRST, "--stage", "prod")
    assert (result.exit_code, "lazaretto-prod-scans" in result.stderr) == (1, True)


def image(context: AppContext, number: int, **more: Any) -> None:
    scan = Scan(ScanState.COMPLETE, None, Source.BASIC, NOW)
    context.table.put_header(
        Header(ref=ref(number), exists=True, known_at=NOW, pushed_at=NOW, scan=scan, refreshed_at=NOW, **more)
    )


def test_it_waits_until_no_image_lags(apply: Apply, context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        image(context, number)
    left = list(range(3))

    def work(_: float) -> None:
        """The functions decide one image while we wait."""
        assert receive_batch([Delivery("1", Decide(ref(left.pop()), "policy", quiet=True))], context) == {}

    monkeypatch.setattr(policy_apply.time, "sleep", work)
    result = apply(FIRST, "--wait", "--skip-what-if")
    assert (result.exit_code, left) == (0, [])
    assert "every image is decided by it" in result.stderr
    assert {row.policy_version for row in context.queries.all_rows()} == {1}
    assert roll_out_policy(context) == 0


def test_it_does_not_wait_for_ever(apply: Apply, context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    image(context, 1)
    minutes = iter(range(100))
    monkeypatch.setattr(policy_apply.time, "sleep", lambda _: None)
    monkeypatch.setattr(policy_apply.time, "monotonic", lambda: 60.0 * next(minutes))
    result = apply(FIRST, "--wait", "--skip-what-if")
    assert (result.exit_code, "1 images still wait" in result.stderr) == (3, True)
