"""`lazaretto doctor`: over an installation that is sound, over one with something ill, before one, and over the local
stack."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from chalicelib import __version__
from chalicelib.adapters.stack.api_probe import ApiProbe
from chalicelib.cli import app
from chalicelib.cli.doctor import doctor
from chalicelib.cli.doctor.check_rights import deploy_requests
from chalicelib.cli.doctor.check_wiring import RULES
from chalicelib.cli.doctor.checks import KINDS
from chalicelib.context import AppContext
from chalicelib.domain.doctor.health import CheckArea
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.images.image import Repository
from chalicelib.errors import UpstreamError
from chalicelib.local.aws.stack import LocalStack
from chalicelib.settings import Settings
from tests.fakes.patient import (
    ACCOUNT,
    NAME,
    REGION,
    SPOKE_NAME,
    STAGE,
    TEMPLATE,
    Patient,
    decided,
    inspected,
    mapping,
    patient,
    refused,
    resource,
    scanning,
)

ROOT = Path(__file__).parents[3]
HOME = Repository(ACCOUNT, REGION, "team/web")


@pytest.fixture
def ill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    with patient(monkeypatch) as made:
        monkeypatch.setattr(doctor, "own_sessions", lambda region, profile: made.sessions)
        monkeypatch.setattr(ApiProbe, "unsigned", lambda probe: 403)
        monkeypatch.setattr(ApiProbe, "signed", lambda probe: (200, __version__))
        settle(made)
        yield made


def context(ill: Patient) -> AppContext:
    return AppContext(Settings.from_env(ill.environment), ill.sessions)


def settle(ill: Patient, ago: timedelta = timedelta(minutes=5)) -> None:
    """The clock and the sweeps have run."""
    place, at = context(ill), ill.now - ago
    place.table.put_snapshot(b"{}", at)
    place.table.store_repository(HOME, {"reconcile_at": at, "reconcile": {"lost_events": 2}, "posture_at": at})


def run(*options: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--stage", STAGE, *options])


def checks(*options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = run("--json", *options)
    assert result.exit_code in (0, 1), result.stderr
    said = json.loads(result.stdout)
    assert said["sound"] is (result.exit_code == 0)
    return result.exit_code, {check["id"]: check for check in said["checks"]}


def test_a_sound_installation_passes_every_check(ill: Patient) -> None:
    code, found = checks()
    wrong = {
        n: c
        for n, c in found.items()
        if c["status"] in ("FAIL", "WARN") or (c["status"] == "UNKNOWN" and c["essential"])
    }
    assert wrong == {}
    assert code == 0
    assert set(found) == {kind.id for kind in KINDS if kind.after}
    assert "1 repositories; reconcile 5 min ago" in found["sweeps"]["seen"]
    assert "2 lost events found" in found["sweeps"]["seen"]
    assert "mode observe" in found["policy"]["seen"]


def test_what_was_seen_is_a_table_by_area(ill: Patient) -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    shown = [line.strip() for line in lines]
    assert [a for a in shown if a in list(CheckArea)] == list(CheckArea)
    assert any(re.match(r"OK +rules +13 are enabled", line) for line in lines)
    assert f"Sound: {NAME} in {REGION}:" in result.stdout


def test_a_look_asks_but_changes_nothing(ill: Patient) -> None:
    assert run().exit_code == 0
    asked = {call.partition(".")[2] for call in ill.calls[ill.calls.index("sts.GetCallerIdentity") :]}
    asks = ("Get", "Describe", "List", "BatchGet", "Simulate", "Query")
    assert {call for call in asked if not call.startswith(asks)} == set()


def test_before_an_installation_the_account_alone_is_looked_at(ill: Patient) -> None:
    ill.stack = None
    result = CliRunner().invoke(app, ["doctor", "--stage", "new", "--json"])
    said = json.loads(result.stdout)
    assert (said["installed"], result.exit_code) == (False, 0)
    assert {check["id"] for check in said["checks"]} == {kind.id for kind in KINDS if kind.before}
    stack = next(check for check in said["checks"] if check["id"] == "stack")
    assert (stack["status"], stack["advice"]) == ("SKIPPED", "`lazaretto deploy --stage new`")
    assert "only the account is checked" in stack["seen"]


def test_before_an_installation_rights_to_deploy_that_are_missing_are_named(ill: Patient) -> None:
    ill.stack = None
    answer = ill.answers["iam.SimulatePrincipalPolicy"]

    def denied(asked: dict[str, Any]) -> dict[str, Any]:
        said = answer(asked)
        for result in said["EvaluationResults"]:
            if result["EvalActionName"] == "iam:PassRole":
                result["EvalDecision"] = "implicitDeny"
                result["OrganizationsDecisionDetail"] = {"AllowedByOrganizations": False}
        return said

    ill.answers["iam.SimulatePrincipalPolicy"] = denied
    result = CliRunner().invoke(app, ["doctor", "--stage", "new", "--json"])
    assert result.exit_code == 1
    (check,) = [c for c in json.loads(result.stdout)["checks"] if c["status"] == "FAIL"]
    assert check["id"] == "deploy-rights"
    assert "iam:PassRole" in check["problems"][0]
    assert "service control policy" in check["problems"][0]


def test_before_an_installation_a_right_that_iam_says_nothing_of_is_not_known(ill: Patient) -> None:
    ill.stack = None
    answer = ill.answers["iam.SimulatePrincipalPolicy"]

    def silent(asked: dict[str, Any]) -> dict[str, Any]:
        results = answer(asked)["EvaluationResults"]
        return {"EvaluationResults": [one for one in results if one["EvalActionName"] != "iam:PassRole"]}

    ill.answers["iam.SimulatePrincipalPolicy"] = silent
    code, found = checks("--stage", "new")
    check = found["deploy-rights"]
    assert (code, check["status"]) == (1, "UNKNOWN")
    assert [line.partition(" on ")[0] for line in check["problems"]] == ["iam:PassRole"]


def test_without_credentials_there_is_one_check_and_it_fails(ill: Patient) -> None:
    def no(asked: dict[str, Any]) -> dict[str, Any]:
        raise refused("GetCallerIdentity", "ExpiredToken")

    ill.answers["sts.GetCallerIdentity"] = no
    code, found = checks()
    assert (code, set(found), found["credentials"]["status"]) == (1, {"credentials"}, "FAIL")


def test_an_aws_that_does_not_answer_is_not_known_and_so_not_sound(ill: Patient) -> None:
    def down(asked: dict[str, Any]) -> dict[str, Any]:
        raise refused("GetCallerIdentity", "ServiceUnavailable", 503)

    ill.answers["sts.GetCallerIdentity"] = down
    code, found = checks()
    assert (code, found["credentials"]["status"]) == (1, "UNKNOWN")


def test_a_stack_that_must_not_be_looked_for_is_not_taken_for_absent(ill: Patient) -> None:
    refusing("cloudformation.DescribeStacks")(ill)
    code, found = checks()
    assert (code, found["stack"]["status"]) == (1, "UNKNOWN")
    assert found["scanning"]["status"] == "OK"


def test_bad_input_is_exit_2(ill: Patient) -> None:
    assert CliRunner().invoke(app, ["doctor", "--stage", "Prod!"]).exit_code == 2


def test_quick_asks_no_simulator(ill: Patient) -> None:
    code, found = checks("--quick")
    assert (code, found["roles"]["status"]) == (0, "SKIPPED")
    assert "iam.SimulatePrincipalPolicy" not in ill.calls


Make = Callable[[Patient], None]


def answering(key: str, said: Any) -> Make:
    def make(ill: Patient) -> None:
        ill.answers[key] = said if callable(said) else lambda asked: said

    return make


def refusing(key: str, code: str = "AccessDenied") -> Make:
    def no(asked: dict[str, Any]) -> dict[str, Any]:
        raise refused(key.partition(".")[2], code)

    return answering(key, no)


def functions(**more: Any) -> Make:
    """OnScans is otherwise."""

    def make(ill: Patient) -> None:
        def said(asked: dict[str, Any]) -> dict[str, Any]:
            name = asked["FunctionName"]
            return ill.function(name, **(more if name.endswith("OnScans") else {}))

        ill.answers["lambda.GetFunctionConfiguration"] = said

    return make


def scans_mapping(**more: Any) -> Make:
    def make(ill: Patient) -> None:
        answer = ill.answers["lambda.ListEventSourceMappings"]

        def said(asked: dict[str, Any]) -> dict[str, Any]:
            own = asked["FunctionName"].endswith("OnScans")
            return {"EventSourceMappings": [mapping("scans", **more)]} if own else answer(asked)

        ill.answers["lambda.ListEventSourceMappings"] = said

    return make


ENDLESS = {"EvaluationResults": [], "IsTruncated": True, "Marker": "again"}


def simulating(action: str, **detail: Any) -> Make:
    def make(ill: Patient) -> None:
        def said(asked: dict[str, Any]) -> dict[str, Any]:
            results = []
            for name in asked["ActionNames"]:
                lines = [
                    {"EvalResourceName": r, "EvalResourceDecision": decided(name, r, asked)}
                    for r in asked["ResourceArns"]
                ]
                result = {"EvalActionName": name, "EvalDecision": "allowed", "ResourceSpecificResults": lines}
                if name == action:
                    for line in lines:
                        line["EvalResourceDecision"] = "implicitDeny"
                        line |= {k: v for k, v in detail.items() if k.startswith("Permissions")}
                    result |= detail
                results.append(result)
            return {"EvaluationResults": results, "IsTruncated": False}

        ill.answers["iam.SimulatePrincipalPolicy"] = said

    return make


def disable_rule(ill: Patient) -> None:
    ill.sessions.client("events").disable_rule(Name=ill.names["FindingRule"])


def take_target(ill: Patient) -> None:
    ill.sessions.client("events").remove_targets(Rule=ill.names["BasicScanRule"], Ids=["1"])


def drop_undelivered(ill: Patient) -> None:
    target = {"Id": "1", "Arn": resource("scans")}
    ill.sessions.client("events").put_targets(Rule=ill.names["BasicScanRule"], Targets=[target])


def delete_rule(ill: Patient) -> None:
    take_target(ill)
    ill.sessions.client("events").delete_rule(Name=ill.names["BasicScanRule"])


def deafen_rule(ill: Patient) -> None:
    ill.sessions.client("events").put_rule(Name=ill.names["BasicScanRule"], EventPattern='{"source": ["aws.ecr"]}')


def forget_rule(ill: Patient) -> None:
    del ill.names["CoverageRule"]


def queue_url(ill: Patient, name: str) -> str:
    return str(ill.sessions.client("sqs").get_queue_url(QueueName=f"{NAME}-{name}")["QueueUrl"])


def take_redrive(ill: Patient) -> None:
    url = queue_url(ill, "actions")
    ill.sessions.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})


def delete_queue(ill: Patient) -> None:
    ill.sessions.client("sqs").delete_queue(QueueUrl=queue_url(ill, "sweeps-dead"))


def give_up_a_message(ill: Patient) -> None:
    ill.sessions.client("sqs").send_message(QueueUrl=queue_url(ill, "scans-dead"), MessageBody="{}")


def alarms(**states: str | None) -> Make:
    """By logical id; None: it was deleted."""

    def make(ill: Patient) -> None:
        said = {name: states.get(n, "OK") for n, name in ill.names.items() if n.endswith("Alarm")}
        found = [ill.alarm(name, state) for name, state in said.items() if state]
        ill.answers["cloudwatch.DescribeAlarms"] = lambda asked: {"MetricAlarms": found}

    return make


def alarm_of_another_stage(ill: Patient) -> None:
    ours, theirs = ill.answers["cloudwatch.DescribeAlarms"]({}), ill.alarm(f"{NAME}-eu-scans-dead", "ALARM")
    ill.answers["cloudwatch.DescribeAlarms"] = lambda asked: {"MetricAlarms": [theirs, *ours["MetricAlarms"]]}


def unsubscribe(ill: Patient) -> None:
    ill.subscribed = 0


def set_slack(ill: Patient) -> None:
    ill.sessions.client("ssm").put_parameter(
        Name="slack", Value="https://example.com/hook-of-secrets", Type="SecureString"
    )
    ill.environment["LAZARETTO_SLACK_SECRET"] = "ssm:slack"


def set_webhook(ill: Patient) -> None:
    written = json.dumps({"url": "http://10.0.0.1/hook-of-secrets", "key": "hook-of-secrets"})
    ill.sessions.client("secretsmanager").create_secret(Name="webhook", SecretString=written)
    ill.environment["LAZARETTO_WEBHOOK_SECRET"] = "secretsmanager:webhook"


def break_settings(ill: Patient) -> None:
    del ill.environment["LAZARETTO_QUEUE_SCANS"]


def blow_fuse(ill: Patient) -> None:
    context(ill).table.change_fuse(lambda fuse: Fuse(blown_at=ill.now, waiting=("a", "b")))


def silence(*rules: str) -> Make:
    def make(ill: Patient) -> None:
        ill.silent |= {ill.names[rule] for rule in rules}

    return make


def stop_clock(ill: Patient) -> None:
    client = ill.sessions.client("dynamodb")
    for item in client.scan(TableName=NAME)["Items"]:
        if item["pk"]["S"] == "SUMMARY":
            client.delete_item(TableName=NAME, Key={k: item[k] for k in ("pk", "sk")})
    context(ill).table.put_snapshot(b"{}", ill.now - timedelta(hours=3))


def forget_repository(ill: Patient) -> None:
    client = ill.sessions.client("dynamodb")
    for item in client.scan(TableName=NAME)["Items"]:
        client.delete_item(TableName=NAME, Key={k: item[k] for k in ("pk", "sk")})
    context(ill).table.put_snapshot(b"{}", ill.now)


def stop_sweeps(ill: Patient) -> None:
    forget_repository(ill)
    context(ill).table.store_repository(HOME, {"reconcile_at": ill.now - timedelta(days=2), "posture_at": ill.now})


def fail_a_sweep(ill: Patient) -> None:
    context(ill).table.store_repository(HOME, {"reconcile": {"error": "access denied"}})


def copied(*, hours_ago: float = 0.1, **facts: Any) -> Make:
    """A replication sweep has left that of the repository's copies."""

    def make(ill: Patient) -> None:
        at = ill.now - timedelta(hours=hours_ago)
        found = {f"{ACCOUNT}/eu-central-1": {"COMPLETE": 2, "alarms": 0, **facts}}
        context(ill).table.store_repository(HOME, {"replication": found, "replication_at": at})

    return make


def leave_the_check_unfinished(ill: Patient) -> None:
    """The first one, which not even listed all."""
    left = {"since": ill.now.isoformat()}
    context(ill).table.store_repository(HOME, {"replication_unfinished": left})


def unprotect(ill: Patient) -> None:
    ill.sessions.client("dynamodb").update_table(TableName=NAME, DeletionProtectionEnabled=False)


def drop_table(ill: Patient) -> None:
    unprotect(ill)
    ill.sessions.client("dynamodb").delete_table(TableName=NAME)


def stack(**said: Any) -> Make:
    def make(ill: Patient) -> None:
        assert ill.stack is not None
        ill.stack |= said

    return make


def forget_template(ill: Patient) -> None:
    ill.template["Resources"]["OnScansRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][0][
        "Resource"
    ] = {"Fn::ImportValue": "x"}


def without_policies(ill: Patient) -> None:
    for made in ill.template["Resources"].values():
        if made["Type"] == "AWS::IAM::Role":
            made["Properties"] = {"Policies": []}


def forget_function(ill: Patient) -> None:
    del ill.names["Clock"]


def in_environment(**changed: str) -> Make:
    """Of OnScans alone."""

    def make(ill: Patient) -> None:
        own = {f"LAZARETTO_{name}": value for name, value in changed.items()}
        functions(Environment={"Variables": {**ill.environment, **own}})(ill)

    return make


def send_elsewhere(ours: str, theirs: str) -> Make:
    def make(ill: Patient) -> None:
        target = {"Id": "1", "Arn": resource("scans").replace(ours, theirs)}
        target |= {"DeadLetterConfig": {"Arn": resource("scans-dead")}}
        ill.answers["events.ListTargetsByRule"] = lambda asked: {"Targets": [target]}

    return make


def wake_another(ill: Patient) -> None:
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}-Other"
    target = {"Id": "1", "Arn": arn, "DeadLetterConfig": {"Arn": resource("clock-dead")}}
    ill.sessions.client("events").put_targets(Rule=ill.names["ClockClockEvent"], Targets=[target])


def unread_series(code: str) -> Make:
    def make(ill: Patient) -> None:
        ill.answers["cloudwatch.GetMetricData"] = lambda asked: {
            "MetricDataResults": [
                {"Id": q["Id"], "Timestamps": [], "Values": [], "StatusCode": code} for q in asked["MetricDataQueries"]
            ]
        }

    return make


def silence_alarm(ill: Patient) -> None:
    found = [ill.alarm(name) for n, name in ill.names.items() if n.endswith("Alarm")]
    silent = [one | {"ActionsEnabled": not one["AlarmName"].endswith("prod-scans-dead")} for one in found]
    ill.answers["cloudwatch.DescribeAlarms"] = lambda asked: {"MetricAlarms": silent}


def leave_one_behind(ill: Patient) -> None:
    at = ill.now - timedelta(days=2)
    other = Repository(ACCOUNT, REGION, "team/old")
    unwatched = Repository("9" * 12, REGION, "team/theirs")
    for home in (other, unwatched):
        context(ill).table.store_repository(home, {"reconcile_at": at, "posture_at": ill.now})


def clock_of_aws(minutes: int) -> Make:
    def make(ill: Patient) -> None:
        answer = ill.answers["sts.GetCallerIdentity"]

        def said(asked: dict[str, Any]) -> dict[str, Any]:
            at = datetime.now(UTC) + timedelta(minutes=minutes)
            headers = {"date": f"{at:%a, %d %b %Y %H:%M:%S GMT}"}
            return answer(asked) | {"ResponseMetadata": {"HTTPHeaders": headers}}

        ill.answers["sts.GetCallerIdentity"] = said

    return make


def configured(kind: str, *given: str) -> Make:
    return answering("ecr.GetRegistryScanningConfiguration", scanning(kind, *given))


def without_rules(ill: Patient) -> None:
    said = {"registryId": ACCOUNT, "scanningConfiguration": {"scanType": "ENHANCED", "rules": []}}
    answering("ecr.GetRegistryScanningConfiguration", said)(ill)


BOUNDARY = {"PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": False}}
ORGANISATION = {"OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}
READS_ONLY = {"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "ReadOnly"}]}
RESERVED = {"ReservedConcurrentExecutions": 0}
NONE_EXCLUDED = {"pullTimeUpdateExclusions": list[str]()}
TEN = {"AccountLimit": {"ConcurrentExecutions": 10, "UnreservedConcurrentExecutions": 10}}
WAITING = {"waiting": 3, "waiting_seconds": 5 * 3600}
OF_ECR = (
    *("ImageActionRule", "BasicScanRule", "ReplicationRule", "ScanResourceRule", "PullThroughRule"),
    "ReferrerRule",
)
ILLNESSES = [
    ("time", "FAIL", " s from AWS", clock_of_aws(6)),
    ("time", "WARN", " s from", clock_of_aws(2)),
    ("scanning", "FAIL", "enhanced scanning, no rule", without_rules),
    ("scanning", "WARN", "MANUAL", configured("BASIC", "MANUAL")),
    ("scanning", "UNKNOWN", "does not know the scanner", configured("DEEP")),
    ("inspector", "OK", "scans ECR images", configured("ENHANCED")),
    ("scan-engine", "WARN", "CLAIR", answering("ecr.GetAccountSetting", {"name": "x", "value": "CLAIR"})),
    ("cloudtrail", "WARN", "no trail", answering("cloudtrail.DescribeTrails", {"trailList": []})),
    ("cloudtrail", "WARN", "all records no", answering("cloudtrail.GetTrailStatus", {"IsLogging": False})),
    ("cloudtrail", "WARN", "all records no", answering("cloudtrail.GetEventSelectors", READS_ONLY)),
    ("cloudtrail", "UNKNOWN", "not seen: ", refusing("cloudtrail.DescribeTrails")),
    ("concurrency", "WARN", "10 executions", answering("lambda.GetAccountSettings", TEN)),
    ("stack", "FAIL", "UPDATE_ROLLBACK_FAILED", stack(StackStatus="UPDATE_ROLLBACK_FAILED")),
    ("stack", "FAIL", "UPDATE_IN_PROGRESS", stack(StackStatus="UPDATE_IN_PROGRESS")),
    ("stack", "WARN", "not protected", stack(EnableTerminationProtection=False)),
    ("stack", "WARN", "its last deployment failed", stack(StackStatus="UPDATE_ROLLBACK_COMPLETE")),
    ("functions", "FAIL", "AWS gives no hash of its code", functions(CodeSha256="")),
    ("functions", "FAIL", "Clock: it is gone", forget_function),
    ("functions", "FAIL", "OnScans: its state is Failed", functions(State="Failed")),
    ("functions", "FAIL", "OnScans: its last update is Failed", functions(LastUpdateStatus="Failed")),
    ("functions", "FAIL", "different code", functions(CodeSha256="other")),
    ("functions", "FAIL", "reserved concurrency is 0", answering("lambda.GetFunctionConcurrency", RESERVED)),
    ("functions", "FAIL", "it is gone", refusing("lambda.GetFunctionConfiguration", "ResourceNotFoundException")),
    ("functions", "UNKNOWN", "not seen: ", refusing("lambda.GetFunctionConfiguration")),
    ("settings", "FAIL", "LAZARETTO_QUEUE_SCANS: missing", break_settings),
    ("settings", "FAIL", "LAZARETTO_TABLE: other, and not lazaretto-prod (OnScans)", in_environment(TABLE="other")),
    ("settings", "FAIL", "LAZARETTO_QUEUE_ACTIONS: missing (OnScans)", in_environment(QUEUE_ACTIONS="")),
    ("rules", "FAIL", "FindingRule", disable_rule),
    ("rules", "FAIL", "scans, which is none of ours", send_elsewhere(":123456789012:", ":999999999999:")),
    ("rules", "FAIL", "none of ours", send_elsewhere(":sqs:", ":lambda:")),
    ("rules", "FAIL", "function:lazaretto-prod-Other, which is none of ours", wake_another),
    ("rules", "FAIL", "it does not send to our queues", take_target),
    ("rules", "FAIL", "what cannot be delivered", drop_undelivered),
    ("rules", "FAIL", "it is gone", delete_rule),
    ("rules", "FAIL", "it matches other events", deafen_rule),
    ("rules", "FAIL", "CoverageRule: the stack has no such rule", forget_rule),
    ("queues", "FAIL", "actions: what fails goes to no queue", take_redrive),
    ("queues", "FAIL", "sweeps-dead: it is gone", delete_queue),
    ("sources", "FAIL", "scans: reading it is Disabled", scans_mapping(State="Disabled")),
    ("sources", "FAIL", "is not reported", scans_mapping(FunctionResponseTypes=[])),
    ("sources", "FAIL", "scans: no function reads it", scans_mapping(EventSourceArn=resource("other"))),
    ("dead-letters", "FAIL", "scans-dead: 1", give_up_a_message),
    ("dead-letters", "UNKNOWN", "gone", delete_queue),
    ("events", "UNKNOWN", "not seen: ", refusing("cloudwatch.GetMetricData")),
    ("events", "UNKNOWN", "(InternalError)", unread_series("InternalError")),
    ("events", "UNKNOWN", "(Forbidden)", unread_series("Forbidden")),
    ("alarms", "WARN", "prod-scans-dead: it has no data yet", alarms(ScansDeadAlarm="INSUFFICIENT_DATA")),
    ("alarms", "WARN", "prod-scans-dead: its actions are off", silence_alarm),
    ("alarms", "FAIL", "prod-scans-dead, since", alarms(ScansDeadAlarm="ALARM")),
    ("alarms", "FAIL", "prod-scans-old, since", alarms(ScansOldAlarm="ALARM")),
    ("alarms", "FAIL", "prod-fuse-blown", alarms(FuseBlownAlarm=None)),
    ("alarms", "OK", "is on", alarm_of_another_stage),
    ("alarms", "FAIL", "there is none", answering("cloudwatch.DescribeAlarms", {"MetricAlarms": []})),
    ("table", "WARN", "deletion protection is off", unprotect),
    ("table", "FAIL", "there is no table", drop_table),
    ("topic", "WARN", "no subscriber: alerts by SNS do not arrive anywhere", unsubscribe),
    ("alarm-topic", "WARN", "no subscriber: alarms do not arrive anywhere", unsubscribe),
    ("slack", "FAIL", "it is no URL under https://hooks.slack.com/", set_slack),
    ("webhook", "FAIL", "its url is not like https://HOST/PATH", set_webhook),
    ("roles", "FAIL", "sns:Publish", simulating("sns:Publish")),
    ("roles", "FAIL", "denied by the permissions boundary", simulating("sns:Publish", **BOUNDARY)),
    ("roles", "FAIL", "denied by a service control policy", simulating("ecr:UpdateImageStorageClass", **ORGANISATION)),
    ("roles", "UNKNOWN", "IAM did not answer", answering("iam.SimulatePrincipalPolicy", {"EvaluationResults": []})),
    ("roles", "UNKNOWN", "The same next token", answering("iam.SimulatePrincipalPolicy", ENDLESS)),
    ("roles", "UNKNOWN", "Fn::ImportValue", forget_template),
    ("roles", "UNKNOWN", "gives no role a permission", without_policies),
    ("roles", "UNKNOWN", "not seen: ", refusing("iam.SimulatePrincipalPolicy")),
    ("pull-times", "WARN", "OnScansRole", answering("ecr.ListPullTimeUpdateExclusions", NONE_EXCLUDED)),
    ("spokes", "UNKNOWN", "were not read", refusing("lambda.GetFunctionConfiguration")),
    ("registries", "FAIL", "you can list it, but the functions compared it last 2 days ago", stop_sweeps),
    ("registries", "WARN", "but you may not list it", refusing("ecr.DescribeRepositories")),
    ("fuse", "FAIL", "2 acts wait", blow_fuse),
    ("events", "WARN", "none of ECR", silence(*OF_ECR)),
    ("clock", "FAIL", "snapshot 3 h ago", stop_clock),
    ("sweeps", "WARN", "no repository is known yet", forget_repository),
    ("sweeps", "FAIL", "reconcile: 2 days ago", stop_sweeps),
    ("sweeps", "WARN", "access denied", fail_a_sweep),
    ("replication", "SKIPPED", "no repository", lambda ill: None),
    ("replication", "OK", "none waits for long", copied(lag={"waiting": 3, "waiting_seconds": 7199})),
    ("replication", "OK", "1 repositories are copied", copied()),
    ("replication", "WARN", "3 to 123456789012/eu-central-1, the oldest for 5 h", copied(lag=WAITING)),
    ("replication", "UNKNOWN", "looked at 4 h ago, and due each hour", copied(hours_ago=4)),
    ("replication", "UNKNOWN", "cannot be looked at: no role is set", copied(unread="no role is set")),
    ("replication", "UNKNOWN", "the check has not ended: its images could not be listed", leave_the_check_unfinished),
    ("sweeps", "WARN", "reconcile: 1 of 2 repositories last 2 days ago", leave_one_behind),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status", "words", "make"), ILLNESSES)
def test_what_is_ill_is_found_and_told(ill: Patient, kind: str, status: str, words: str, make: Make) -> None:
    make(ill)
    code, found = checks(*(() if kind == "roles" else ("--quick",)))
    check = found[kind]
    assert check["status"] == status, check
    assert words in " ".join([check["seen"], *check["problems"]])
    denies = status == "FAIL" or (status == "UNKNOWN" and check["essential"])
    assert code == 1 if denies else code == 0 or status != "OK"
    assert check["advice"] or status in ("OK", "UNKNOWN", "SKIPPED")
    assert "hook-of-secrets" not in json.dumps(found)


def test_a_registry_that_nobody_has_ever_looked_at_is_not_taken_for_sound(ill: Patient) -> None:
    forget_repository(ill)
    refusing("ecr.DescribeRepositories")(ill)
    code, found = checks("--quick")
    assert (code, found["registries"]["status"]) == (1, "UNKNOWN")
    assert "never compared" in found["registries"]["problems"][0]


def test_an_inspector_that_is_off_under_enhanced_scanning_is_a_failure(ill: Patient) -> None:
    ill.answers["ecr.GetRegistryScanningConfiguration"] = lambda asked: scanning("ENHANCED")
    ill.answers["inspector2.BatchGetAccountStatus"] = lambda asked: inspected("DISABLED")
    silence("EnhancedScanRule", "CoverageRule", "FindingRule")(ill)
    code, found = checks()
    assert (code, found["inspector"]["status"], found["events"]["status"]) == (1, "FAIL", "WARN")


def test_an_api_that_answers_anybody_is_a_failure(ill: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ApiProbe, "unsigned", lambda probe: 200)
    code, found = checks()
    assert (code, found["api"]["status"]) == (1, "FAIL")
    assert "an unsigned call" in found["api"]["seen"]


@pytest.mark.parametrize(
    ("status", "version", "expected"),
    [(403, None, ("WARN", "UNKNOWN")), (502, None, ("FAIL", "UNKNOWN")), (200, "9.9.9", ("OK", "WARN"))],
)
def test_what_answers_a_signed_call_is_told(
    ill: Patient, monkeypatch: pytest.MonkeyPatch, status: int, version: str | None, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr(ApiProbe, "signed", lambda probe: (status, version))
    _, found = checks()
    assert (found["api"]["status"], found["version"]["status"]) == expected


def test_a_test_alert_goes_through_each_channel_only_when_asked(ill: Patient) -> None:
    inbox = queue_url(ill, "clock-dead")
    assert checks()[1]["test-alert"]["status"] == "SKIPPED"
    code, found = checks("--send-test")
    assert (code, found["test-alert"]["status"]) == (0, "OK")
    (message,) = ill.sessions.client("sqs").receive_message(QueueUrl=inbox)["Messages"]
    assert "Test: alerts of prod arrive here" in message["Body"]


def test_a_channel_that_refuses_the_test_alert_is_a_failure(ill: Patient) -> None:
    set_slack(ill)
    set_webhook(ill)
    code, found = checks("--send-test")
    assert (code, found["test-alert"]["status"]) == (1, "FAIL")
    slack, webhook = found["test-alert"]["problems"]
    assert slack.startswith("slack: the Slack webhook must be a URL")
    assert webhook.startswith("webhook: the webhook secret cannot be used: its url is not like https")
    assert "hook-of-secrets" not in json.dumps(found)


def test_our_roles_are_excluded_from_pull_times_only_when_asked(ill: Patient) -> None:
    registered: list[str] = []
    ill.answers["ecr.ListPullTimeUpdateExclusions"] = lambda asked: {"pullTimeUpdateExclusions": registered}

    def register(asked: dict[str, Any]) -> dict[str, Any]:
        registered.append(asked["principalArn"])
        return {}

    ill.answers["ecr.RegisterPullTimeUpdateExclusion"] = register
    assert checks()[1]["pull-times"]["status"] == "WARN"
    assert registered == []
    assert checks("--exclude-our-pulls")[1]["pull-times"]["status"] == "OK"
    assert registered == [ill.environment["LAZARETTO_ROLE_ARNS"]]


def test_failures_are_shown_with_what_to_do_beneath(ill: Patient) -> None:
    disable_rule(ill)
    result = run("--quick")
    assert result.exit_code == 1
    _, _, below = result.stdout.partition("FAIL     rules")
    assert f"- FindingRule ({NAME}-FindingRule): it is DISABLED" in below
    assert f"Do: `aws events enable-rule --name {NAME}-FindingRule`;" in below
    assert "Not sound:" in result.stdout
    assert "1 failed" in result.stdout


def test_a_command_to_be_pasted_is_not_broken(ill: Patient) -> None:
    configured("BASIC", "MANUAL")(ill)
    result = run("--quick")
    commands = [line for line in result.stdout.splitlines() if "put-registry-scanning-configuration" in line]
    (line,) = commands
    assert re.search(r"`aws ecr put-registry-scanning-configuration --scan-type BASIC --rules '[^`]+'`$", line)
    others = [line for line in result.stdout.splitlines() if line not in commands]
    assert max(map(len, others)) <= 100


def test_over_the_local_stack_it_is_honest_about_what_is_not_there() -> None:
    with LocalStack(hurry=1.0):
        result = CliRunner().invoke(app, ["doctor", "--stage", "dev", "--json"])
    found = {check["id"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 1
    for kind in ("stack", "rules", "functions", "sources", "roles", "api"):
        assert found[kind]["status"] == "UNKNOWN", kind
        assert "no stack" in found[kind]["seen"]
    assert found["policy"]["status"] == found["fuse"]["status"] == found["registries"]["status"] == "OK"
    assert found["queues"]["status"] == found["dead-letters"]["status"] == "OK", "each queue of the template is there"
    for kind, what in (
        ("scan-engine", "read the engine of basic scans"),
        ("concurrency", "read the account's limits of Lambda"),
    ):
        assert (found[kind]["seen"], found[kind]["advice"]) == (f"not seen: {what}: not known there", None)
    assert "<" not in result.stdout
    assert found["slack"]["status"] == "SKIPPED"


def of_spoke(ill: Patient, region: str = "eu-central-1") -> Any:
    return ill.sessions.client("events", region)


def unhook_spoke(ill: Patient) -> None:
    of_spoke(ill).remove_targets(Rule=ill.spoke_names["FindingRule"], Ids=["hub"])


def disable_spoke(ill: Patient) -> None:
    of_spoke(ill).disable_rule(Name=ill.spoke_names["FindingRule"])


def deafen_spoke(ill: Patient) -> None:
    of_spoke(ill).put_rule(Name=ill.spoke_names["FindingRule"], EventPattern='{"source": ["aws.ecr"]}')


def lose_an_event(ill: Patient) -> None:
    ill.sessions.client("sqs", "eu-central-1").send_message(QueueUrl=ill.spoke_names["DeadQueue"], MessageBody="{}")


def keep_it(ill: Patient) -> None:
    """As it is."""


def of_another_version(ill: Patient) -> None:
    ill.spoke["Description"] = "of yesterday"


def no_spoke(ill: Patient) -> None:
    ill.spoke = {}


@pytest.mark.parametrize(
    ("make", "status", "words"),
    [
        (keep_it, "OK", "eu-central-1: 12 rules send to arn:aws:events:eu-west-1:"),
        (of_another_version, "WARN", "another version"),
        (no_spoke, "WARN", "there is none"),
        (unhook_spoke, "FAIL", "FindingRule: it does not send to the hub's bus"),
        (disable_spoke, "FAIL", "FindingRule: it is DISABLED"),
        (deafen_spoke, "FAIL", "FindingRule: it matches other events than in this version"),
        (lose_an_event, "FAIL", "1 events did not reach the hub"),
        (refusing("cloudformation.ListStackResources"), "UNKNOWN", "never compared; its rules cannot be read"),
    ],
)
def test_the_spoke_of_another_region_is_looked_at(ill: Patient, make: Make, status: str, words: str) -> None:
    ill.environment["LAZARETTO_REGISTRIES"] = "eu-central-1"
    ill.add_spoke("eu-central-1")
    installed = ill.answers["cloudformation.ListStackResources"]
    make(ill)
    if ill.answers["cloudformation.ListStackResources"] is not installed:
        told = ill.answers["cloudformation.ListStackResources"]
        ill.answers["cloudformation.ListStackResources"] = lambda asked: (
            told(asked) if SPOKE_NAME in asked["StackName"] else installed(asked)
        )
    code, found = checks("--quick")
    check = found["spokes"]
    assert check["status"] == status, check
    assert words in " ".join([check["seen"], *check["problems"]])
    assert code == (1 if status == "FAIL" else 0)


def test_a_spoke_whose_role_lets_in_functions_alone_is_not_known(ill: Patient) -> None:
    ill.environment["LAZARETTO_REGISTRIES"] = "444455556666/eu-central-1"
    ill.environment["LAZARETTO_ACCOUNT_ROLES"] = "arn:aws:iam::444455556666:role/lazaretto-prod-spoke"
    refusing("sts.AssumeRole")(ill)
    _, found = checks("--quick")
    assert found["spokes"]["status"] == "UNKNOWN"
    assert "its rules cannot be read: sts:AssumeRole" in found["spokes"]["problems"][0]
    assert "with credentials of 444455556666" in found["spokes"]["advice"]


def test_in_the_account_of_a_spoke_its_spoke_is_looked_at(ill: Patient) -> None:
    ill.stack = None
    ill.add_spoke(REGION)
    result = CliRunner().invoke(app, ["doctor", "--stage", "prod", "--json"])
    queues = ill.sessions.client("sqs")
    assert result.exit_code == 1, "queues of the hub are there as well"
    for url in queues.list_queues()["QueueUrls"]:
        if SPOKE_NAME not in url:
            queues.delete_queue(QueueUrl=url)
    result = CliRunner().invoke(app, ["doctor", "--stage", "prod", "--json"])
    found = {check["id"]: check for check in json.loads(result.stdout)["checks"]}
    assert (result.exit_code, found["spokes"]["status"]) == (0, "OK"), found["spokes"]
    assert "is elsewhere: its spoke here" in found["stack"]["seen"]
    assert found["deploy-rights"]["status"] == "SKIPPED"
    disabled = ill.sessions.client("events")
    disabled.disable_rule(Name=ill.spoke_names["CoverageRule"])
    result = CliRunner().invoke(app, ["doctor", "--stage", "prod", "--json"])
    assert result.exit_code == 1


def test_an_address_that_is_none_of_api_gateway_is_not_asked(ill: Patient) -> None:
    with pytest.raises(UpstreamError):
        ApiProbe(ill.sessions, "http://169.254.169.254/latest")


def test_every_call_of_a_round_is_told_among_the_rights_it_needs(ill: Patient) -> None:
    ill.answers["ecr.ListPullTimeUpdateExclusions"] = lambda asked: {"pullTimeUpdateExclusions": []}
    ill.answers["ecr.RegisterPullTimeUpdateExclusion"] = lambda asked: {}
    set_slack(ill)
    del ill.calls[:]
    checks("--send-test", "--exclude-our-pulls")
    page = (ROOT / "docs/doctor.md").read_text()
    assert len(ill.calls) > 100
    assert not {call for call in ill.calls if call.partition(".")[2] not in page}


def test_rules_are_those_of_the_template() -> None:
    resources = TEMPLATE["Resources"]
    rules = [rule for own in RULES.values() for rule in own]
    assert sorted(rules) == sorted(n for n, r in resources.items() if r.get("Type") == "AWS::Events::Rule")


def test_the_rights_to_deploy_hold_those_that_are_documented() -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    _, _, section = page.partition("### Permissions to deploy")
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", section.partition("\n## ")[0]))
    simulated = {a.partition(":")[2] for q in deploy_requests("aws", REGION, ACCOUNT) for a in q.actions}
    assert len(named) > 20
    assert named - simulated == {"DeleteTable", "GetItem", "Query"}, "of destroy, and what deploy may do"


def test_who_may_not_join_functions_to_their_queues_may_not_deploy() -> None:
    asked = {action for question in deploy_requests("aws", REGION, ACCOUNT) for action in question.actions}
    makes = {"CreateFunction", "AddPermission", "PutFunctionEventInvokeConfig", "CreateEventSourceMapping"}
    assert {f"lambda:{call}" for call in makes} <= asked


def test_each_check_has_a_name_of_its_own_and_areas_are_not_mixed() -> None:
    assert len({kind.id for kind in KINDS}) == len(KINDS)
    areas = [kind.area for kind in KINDS]
    assert sorted(areas, key=areas.index) == areas


def test_every_check_is_in_the_table_of_the_docs() -> None:
    page = (ROOT / "docs/doctor.md").read_text()
    rows = re.findall(r"^\| `([a-z][a-z-]+)` \|", page, re.M)
    assert rows == [kind.id for kind in KINDS]
    essential = re.findall(r"^\| `([a-z-]+)` \|.*\| yes \|$", page, re.M)
    assert essential == [kind.id for kind in KINDS if kind.essential]
