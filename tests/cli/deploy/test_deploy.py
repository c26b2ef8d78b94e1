"""`lazaretto deploy` against an account in memory: what it makes, shows, asks, keeps, and says when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.adapters.stack.artefact_bucket import ArtefactBucket
from chalicelib.context import AppContext
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Repository
from chalicelib.errors import UpstreamError
from chalicelib.settings import Settings
from tests.fakes.images import digest
from tests.fakes.installation import NAME, REGION, Installation, change, installation
from tests.fakes.queries import NOW

ITEM = {"pk": {"S": "REPO#a"}, "sk": {"S": "IMAGE#b"}}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Installation]:
    with installation(monkeypatch, tmp_path) as made:
        yield made


def settle(seconds: int) -> tuple[str, str]:
    return "--parameter", f"SettleSeconds={seconds}"


def parameters(place: Installation) -> dict[str, str]:
    return {p["ParameterKey"]: p["ParameterValue"] for p in place.cloudformation.stack(NAME)["Parameters"]}


def test_an_installation_is_created_by_one_command(place: Installation) -> None:
    result = place.deploy("--yes")
    assert result.exit_code == 0, result.stderr
    assert place.status == "CREATE_COMPLETE"
    assert place.tables() == [NAME]
    assert "lazaretto-dev is created." in result.stdout
    assert "  API        https://a.example/api/" in result.stdout
    for command in ("doctor", "reconcile"):
        assert f"lazaretto {command} --stage dev" in result.stdout
    assert "created the bucket lazaretto-artefacts-123456789012-eu-west-1" in result.stderr
    assert "CREATE_COMPLETE       DynamoDB::Table                 Table" in result.stderr


def test_what_is_deployed_lies_in_the_bucket(place: Installation) -> None:
    place.deploy("--yes")
    function = place.cloudformation.stack(NAME)["_template"]["Resources"]["OnScans"]["Properties"]
    place_of_code = function["CodeUri"]
    body = place.sessions.client("s3").get_object(**place_of_code)["Body"].read()
    assert body == (place.artefact / "deployment.zip").read_bytes()


def test_a_second_deploy_without_a_change_does_nothing(place: Installation) -> None:
    place.deploy("--yes", "--tag", "team=security")
    events = len(place.cloudformation.stack(NAME)["_events"])
    result = place.deploy("--yes")
    assert result.exit_code == 0
    assert "No changes: it is deployed as it is." in result.stdout
    assert "Next:" not in result.stdout
    assert len(place.cloudformation.stack(NAME)["_events"]) == events
    assert not place.cloudformation.change_sets
    assert json.loads(place.deploy("--yes", "--json").stdout)["done"] == "unchanged"


def test_a_change_is_shown_asked_for_and_done(place: Installation) -> None:
    place.deploy("--yes")
    result = place.deploy(*settle(5), answers="y\n")
    assert result.exit_code == 0, result.stderr
    assert "Modify   Serverless::Function   OnScans" in result.stdout
    assert "ScansQueue" not in result.stdout
    assert "Deploy it?" in result.stderr
    assert "lazaretto-dev is updated." in result.stdout
    assert parameters(place)["SettleSeconds"] == "5"


def test_what_is_not_given_again_stays(place: Installation) -> None:
    place.deploy("--yes", *settle(5), "--tag", "team=security", "--tag", "cost=7")
    result = place.deploy("--yes", "--parameter", "SlackChannel=C0123", "--tag", "cost=8")
    assert result.exit_code == 0, result.stderr
    assert (parameters(place)["SettleSeconds"], parameters(place)["SlackChannel"]) == ("5", "C0123")
    tags = {t["Key"]: t["Value"] for t in place.cloudformation.stack(NAME)["Tags"]}
    assert tags == {"lazaretto:stage": "dev", "team": "security", "cost": "8"}


def test_a_no_leaves_nothing_behind(place: Installation) -> None:
    result = place.deploy(answers="n\n")
    assert result.exit_code == 1
    assert place.living() == []
    assert not place.cloudformation.change_sets
    place.deploy("--yes")
    assert place.deploy(*settle(5), answers="n\n").exit_code == 1
    assert (place.status, parameters(place)["SettleSeconds"]) == ("CREATE_COMPLETE", "60")
    assert not place.cloudformation.change_sets


def test_a_dry_run_shows_and_changes_nothing(place: Installation) -> None:
    result = place.deploy("--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "Add" in result.stdout
    assert "Dry run: the stack was not changed." in result.stdout
    assert (place.living(), place.tables()) == ([], [])
    said = json.loads(place.deploy("--dry-run", "--json").stdout)
    assert (said["done"], {c["action"] for c in said["changes"]}) == ("dry-run", {"Add"})
    place.deploy("--yes")
    assert place.deploy("--dry-run", "--protect", *settle(5)).exit_code == 0
    assert parameters(place)["SettleSeconds"] == "60"
    assert not place.cloudformation.stack(NAME)["EnableTerminationProtection"]


def test_nobody_to_ask_is_bad_input_before_anything_is_made(place: Installation) -> None:
    result = place.deploy()
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert not place.cloudformation.calls
    assert place.sessions.client("s3").list_buckets()["Buckets"] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--parameter", "SettleSecond=5"), "did you mean SettleSeconds"),
        (("--parameter", "Stage=prod"), "give --stage"),
        (("--parameter", "SettleSeconds"), "--parameter takes NAME=VALUE"),
        (("--parameter", "SlackChannel=a", "--parameter", "SlackChannel=b"), "SlackChannel is given twice"),
        (("--parameter", "SlackSecretArn=https://hooks.slack.com/services/T/B/x"), "this is a secret"),
        (("--stage", "Prod!"), "is no stage"),
        (("--stage", "prod"), "is packaged for the stage dev, not for prod"),
        (("--bucket", "of-nobody"), "there is no bucket of-nobody"),
    ],
)
def test_bad_input_is_said_and_nothing_deployed(place: Installation, options: tuple[str, ...], words: str) -> None:
    result = place.deploy("--yes", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "hooks.slack.com" not in result.output
    assert not place.cloudformation.calls


def test_a_failure_names_the_first_cause_and_not_the_cascade(place: Installation) -> None:
    place.cloudformation.failing = {"OnScans": "The role cannot be assumed by Lambda"}
    result = place.deploy("--yes")
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert lines[-2] == "OnScans (AWS::Serverless::Function): The role cannot be assumed by Lambda"
    assert lines[-1].startswith("lazaretto-dev is ROLLBACK_COMPLETE. Nothing runs.")
    assert place.status == "ROLLBACK_COMPLETE"


def test_what_a_failed_first_deployment_left_is_deleted_by_the_next(place: Installation) -> None:
    place.cloudformation.failing = {"ScansQueue": "no"}
    place.deploy("--yes")
    place.cloudformation.failing = {}
    assert place.deploy("--dry-run").exit_code == 1
    assert place.deploy(answers="n\n").exit_code == 1
    assert place.status == "ROLLBACK_COMPLETE"
    result = place.deploy(answers="y\ny\ny\n")
    assert result.exit_code == 0, result.stderr
    assert "what is left can only be deleted; the table stays" in result.stderr
    assert place.cloudformation.calls[-2:] == ["create_change_set IMPORT", "create_change_set UPDATE"]
    assert place.status == "UPDATE_COMPLETE"


def test_a_failed_update_leaves_what_ran(place: Installation) -> None:
    place.deploy("--yes")
    place.cloudformation.failing = {"OnScans": "no"}
    result = place.deploy("--yes", *settle(5))
    assert result.exit_code == 3
    assert "UPDATE_ROLLBACK_COMPLETE. What ran before still runs." in result.stderr
    assert parameters(place)["SettleSeconds"] == "60"
    place.cloudformation.failing = {}
    assert place.deploy("--yes", *settle(5)).exit_code == 0


def test_a_stack_that_can_go_neither_forth_nor_back_needs_a_person(place: Installation) -> None:
    place.deploy("--yes")
    place.cloudformation.failing, place.cloudformation.ends_in = {"OnScans": "no"}, "UPDATE_ROLLBACK_FAILED"
    way_out = "aws cloudformation continue-update-rollback --region eu-west-1 --stack-name lazaretto-dev"
    for _ in range(2):
        result = place.deploy("--yes", *settle(5))
        assert result.exit_code == 3
        assert way_out in result.stderr
    assert place.cloudformation.calls == ["create_change_set CREATE", "create_change_set UPDATE"]


def test_another_deployment_that_is_under_way_is_not_disturbed(place: Installation) -> None:
    place.deploy("--yes")
    place.cloudformation.stack(NAME)["StackStatus"] = "UPDATE_IN_PROGRESS"
    result = place.deploy("--yes", *settle(5))
    assert result.exit_code == 3
    assert "lazaretto-dev is UPDATE_IN_PROGRESS: another deployment is under way" in result.stderr
    assert place.cloudformation.calls == ["create_change_set CREATE"]


def test_a_review_that_nobody_ended_is_removed(place: Installation) -> None:
    place.cloudformation._begin(NAME)
    result = place.deploy("--yes")
    assert result.exit_code == 0, result.stderr
    assert "an unfinished review of the stack is removed" in result.stderr
    assert place.living() == [NAME]


def test_interrupted_it_says_that_the_stack_goes_on_and_how_to_watch_it(place: Installation) -> None:
    def interrupt() -> None:
        if place.status == "CREATE_IN_PROGRESS" and len(place.cloudformation.stack(NAME)["_events"]) > 2:
            raise KeyboardInterrupt

    place.cloudformation.on_events = interrupt
    result = place.deploy("--yes")
    assert result.exit_code == 3
    assert "The operation goes on without being watched" in result.stderr
    assert "aws cloudformation describe-stack-events --region eu-west-1 --stack-name arn:aws" in result.stderr
    assert place.living() == [NAME]


def test_a_change_set_that_is_refused_is_removed(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    made = place.cloudformation.create_change_set

    def refused(**wanted: Any) -> dict[str, Any]:
        answer = made(**wanted)
        place.cloudformation.change_sets[answer["Id"]]["_end"] = ("FAILED", "Transform failed: no such property")
        return answer

    monkeypatch.setattr(place.cloudformation, "create_change_set", refused)
    result = place.deploy("--yes")
    assert result.exit_code == 3
    assert "CloudFormation refuses the change: Transform failed: no such property" in result.stderr
    assert place.living() == []


def test_termination_protection_is_switched_by_a_deploy_and_else_left(place: Installation) -> None:
    assert "lazaretto deploy --stage dev --protect" in place.deploy("--yes").stdout
    place.deploy("--yes", "--protect")
    place.deploy("--yes")
    assert place.cloudformation.stack(NAME)["EnableTerminationProtection"]
    assert json.loads(place.deploy("--yes", "--json").stdout)["protected"] is True
    place.deploy("--yes", "--no-protect")
    assert not place.cloudformation.stack(NAME)["EnableTerminationProtection"]


def rename(said: dict[str, Any]) -> None:
    said["Resources"]["Table"]["Properties"]["BillingMode"] = "PROVISIONED"


def test_a_table_that_would_be_replaced_is_told_loudly_and_never_without_asking(place: Installation) -> None:
    place.deploy("--yes")
    change(place, rename)
    place.cloudformation.replaced = {"Table": "True"}
    result = place.deploy("--yes")
    assert "WARNING: Table IS THE TABLE" in result.stderr
    assert result.exit_code != 0
    for answer in ("y\n", "lazaretto-prod\n", "\n"):
        assert place.deploy(answers=answer).exit_code == 1
    assert (
        place.cloudformation.stack(NAME)["_template"]["Resources"]["Table"]["Properties"]["BillingMode"]
        != "PROVISIONED"
    )
    assert place.deploy(answers="lazaretto-dev\n").exit_code == 0


def test_a_table_that_may_be_replaced_is_told(place: Installation) -> None:
    place.deploy("--yes")
    change(place, rename)
    place.cloudformation.replaced = {"Table": "Conditional"}
    result = place.deploy("--yes")
    assert result.exit_code == 0
    assert "cannot say yet whether it is replaced" in result.stderr
    assert "perhaps" in result.stdout


def leave_a_table(place: Installation, **more: Any) -> None:
    definition = table_definition(NAME)
    keys = ("TableName", "AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
    place.dynamodb.create_table(**{key: definition[key] for key in keys}, **more)
    place.dynamodb.put_item(TableName=NAME, Item=ITEM)


def test_a_table_that_was_left_is_taken_up_with_what_it_holds(place: Installation) -> None:
    leave_a_table(place)
    result = place.deploy(answers="y\ny\n")
    assert result.exit_code == 0, result.stderr
    assert place.cloudformation.calls == ["create_change_set IMPORT", "create_change_set UPDATE"]
    assert place.status == "UPDATE_COMPLETE"
    assert "lazaretto-dev is created." in result.stdout
    assert set(place.cloudformation.stack(NAME)["_resources"]) == {"OnScans", "OnScansRole", "ScansQueue", "Table"}
    assert place.dynamodb.scan(TableName=NAME)["Items"] == [ITEM]
    assert place.deploy("--yes").stdout.startswith("No changes")


def test_taking_up_can_be_declined(place: Installation) -> None:
    leave_a_table(place)
    assert place.deploy(answers="n\n").exit_code == 1
    assert (place.living(), place.tables()) == ([], [NAME])
    assert place.deploy(answers="y\nn\n").exit_code == 1
    assert (place.status, place.tables()) == ("IMPORT_COMPLETE", [NAME])
    assert place.deploy("--yes").exit_code == 0


def test_a_dry_run_takes_up_nothing(place: Installation) -> None:
    leave_a_table(place)
    result = place.deploy("--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "Import   DynamoDB::Table" in result.stdout
    assert not place.cloudformation.calls


def test_the_key_of_a_table_that_was_taken_up_alone_must_be_named_as_well(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cut off between the import and the update left a stack without the parameter."""
    key = place.sessions.client("kms").create_key()["KeyMetadata"]["Arn"]
    leave_a_table(place, SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key})

    def away(*_: object) -> str:
        raise UpstreamError("S3 is away")

    with monkeypatch.context() as cut:
        cut.setattr(ArtefactBucket, "put", away)
        assert place.deploy("--yes", "--parameter", f"KmsKeyArn={key}").exit_code == 3
    assert place.status == "IMPORT_COMPLETE"
    result = place.deploy("--yes")
    assert result.exit_code == 2
    assert f"is encrypted by {key}" in result.stderr
    assert place.deploy("--yes", "--parameter", f"KmsKeyArn={key}").exit_code == 0
    assert place.deploy("--yes").exit_code == 0


def test_a_table_under_a_key_of_the_customer_is_not_put_under_another_unsaid(place: Installation) -> None:
    key = place.sessions.client("kms").create_key()["KeyMetadata"]["Arn"]
    leave_a_table(place, SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key})
    result = place.deploy("--yes")
    assert result.exit_code == 2
    assert f"is encrypted by {key}" in result.stderr
    assert place.living() == []
    assert place.deploy("--yes", "--parameter", f"KmsKeyArn={key}").exit_code == 0


def test_a_table_that_the_stack_does_not_hold_is_not_touched(place: Installation) -> None:
    place.deploy("--yes")
    place.cloudformation.stack(NAME)["_resources"].remove("Table")
    result = place.deploy("--yes", *settle(5))
    assert result.exit_code == 1
    assert "exists, and the stack lazaretto-dev does not hold it" in result.stderr


def test_json_is_one_line_with_changes_and_outputs(place: Installation) -> None:
    said = json.loads(place.deploy("--yes", "--json").stdout)
    assert (said["stack"], said["region"], said["done"]) == (NAME, "eu-west-1", "created")
    assert said["outputs"]["EndpointURL"] == "https://a.example/api/"
    assert {"action": "Add", "type": "AWS::DynamoDB::Table", "name": "Table", "replacement": None} in said["changes"]


# ---- who leaves no pull time

EXCLUSION = {
    "Type": "AWS::ECR::PullTimeUpdateExclusion",
    "Properties": {"PrincipalArn": {"Fn::GetAtt": ["OnScansRole", "Arn"]}},
}
OURS, THEIRS = (f"arn:aws:iam::123456789012:role/{name}" for name in ("x-OnScansRole", "scanner"))


def exclude(said: dict[str, Any]) -> None:
    said["Resources"]["OnScansLeavesNoPullTime"] = EXCLUSION


def test_an_exclusion_that_was_registered_by_hand_becomes_the_stacks(place: Installation) -> None:
    place.deploy("--yes")
    place.ecr.arns = {OURS, THEIRS}
    change(place, exclude)
    result = place.deploy("--yes")
    assert result.exit_code == 0, result.stderr
    assert place.ecr.arns == {THEIRS}
    assert f"the exclusion of {OURS} from pull times becomes the stack's" in result.stderr


def test_an_exclusion_of_the_stack_is_left_alone(place: Installation) -> None:
    change(place, exclude)
    place.deploy("--yes")
    place.ecr.arns = {OURS, THEIRS}
    assert place.deploy("--yes", *settle(7)).exit_code == 0
    assert place.ecr.arns == {OURS, THEIRS}


@pytest.mark.parametrize("how", [("--dry-run",), ()])
def test_what_is_not_deployed_ends_no_exclusion(place: Installation, how: tuple[str, ...]) -> None:
    place.deploy("--yes")
    place.ecr.arns = {OURS}
    change(place, exclude)
    place.deploy(*how, answers="n\n")
    assert place.ecr.arns == {OURS}


# ---- public images without a known origin


def of(place: Installation) -> AppContext:
    settings = Settings(table=NAME, queue_scans="", queue_actions="", queue_alerts="", queue_sweeps="")
    return AppContext(settings, place.sessions)


def public_repository(place: Installation, name: str, *twins: str) -> None:
    """With one image; `twins`: private repositories in which its digest lies."""
    home = Repository("public/acme", "us-east-1", name)
    private = (Repository("123456789012", REGION, twin).image(digest(1)).path for twin in twins)
    context = of(place)
    context.table.put_header(Header(ref=home.image(digest(1)), exists=True, existence_at=NOW, twins=tuple(private)))
    context.table.store_repository(home, {"public_at": NOW})


def test_a_deploy_lists_public_repositories_without_origin_by_the_policy_in_force(place: Installation) -> None:
    place.deploy("--yes")
    assert json.loads(place.deploy("--yes", "--json").stdout)["unknown_origins"] == []
    public_repository(place, "api", "api")
    public_repository(place, "web", "team/web", "sandbox/web")
    public_repository(place, "orphan")
    listed = [["web", 1, 1, ["web"]], ["orphan", 1, 1, ["orphan"]]]
    for option in ("--yes", "--dry-run"):
        said = json.loads(place.deploy(option, "--json").stdout)["unknown_origins"]
        assert [[s["repository"], s["images"], s["unknown"], s["from"]] for s in said] == [
            [f"public.ecr.aws/acme/{name}", *rest] for name, *rest in sorted(listed)
        ]
        shown = place.deploy(option).stdout
        assert "public.ecr.aws/acme/web" in shown
        assert "public.ecr.aws/acme/api" not in shown
    policy = "version: 1\npublic: [{public: web, from: [team/web]}]\n"
    of(place).rules.put_policy(policy, "ann")
    (left,) = json.loads(place.deploy("--yes", "--json").stdout)["unknown_origins"]
    assert left["repository"] == "public.ecr.aws/acme/orphan"


def test_where_the_table_cannot_be_read_a_deploy_says_so_and_is_done(place: Installation) -> None:
    place.deploy("--yes")
    place.dynamodb.delete_table(TableName=NAME)
    result = place.deploy("--yes", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["unknown_origins"] is None
    assert "whether public images have a known origin could not be read" in result.stderr
