"""What is deployed: the merge template, a least-privilege policy per function, and the checks `make package` makes."""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.session import get_session

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.channels.secrets import Secret
from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.build.bundle import REQUIRED, check_bundle, check_bytecode, check_template
from chalicelib.build.package import LEFT_OUT, stage_tree
from chalicelib.domain.channels.channel import CHANNELS
from chalicelib.services.channels.deliver_alert import CLAIM
from chalicelib.settings import Settings

ROOT = Path(__file__).parent.parent
CHALICE = ROOT / ".chalice"
TEMPLATE = json.loads((CHALICE / "resources.json").read_text())
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
CONFIG = json.loads((CHALICE / "config.json").read_text())
FUNCTIONS: dict[str, Any] = CONFIG["stages"]["dev"]["lambda_functions"]
SOURCES = {
    "OnScans": "Scans",
    "OnFindings": "Findings",
    "OnActions": "Actions",
    "OnAlerts": "Alerts",
    "OnSweeps": "Sweeps",
}
RUNTIME_OWN = {
    *("logs:CreateLogStream", "logs:PutLogEvents"),
    *("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"),
}
SERVICES = (
    *("dynamodb", "ec2", "ecr", "ecr-public", "ecs", "eks", "events", "iam", "inspector2", "lambda", "scheduler"),
    *("secretsmanager", "sns", "sqs", "ssm", "sts", "apprunner", "batch", "codebuild", "sagemaker"),
)
BY_OTHER_NAMES = {"TransactWriteItems", "TransactGetItems", "SendMessageBatch", "ListImageReferrers"}
"""Allowed by the permissions of the writes and sends inside them, or by BatchGetImage: no permission has that name."""
OUR_OWN = {"DeletePolicy", "Search"}
"""Methods that are called of something else than a client; IAM and SageMaker have operations of those names."""
FREE = {"GetCallerIdentity"}
ONLY_PEOPLE = {
    *("CreateTable", "GetQueueUrl", "PutLifecyclePolicy", "DeleteLifecyclePolicy"),
    *("DescribeTable", "DescribeTimeToLive", "DescribeContinuousBackups", "DeleteTable", "UpdateTable"),
    *("StartLifecyclePolicyPreview", "GetLifecyclePolicyPreview"),
    *("ListPullTimeUpdateExclusions", "RegisterPullTimeUpdateExclusion", "DeregisterPullTimeUpdateExclusion"),
    *("BatchGetAccountStatus", "DescribeRule", "GetAccountSetting", "GetAccountSettings", "GetFunctionConcurrency"),
    *("GetFunctionConfiguration", "GetRole", "GetTopicAttributes", "ListEventSourceMappings"),
    "SimulatePrincipalPolicy",
    *("ReceiveMessage", "ChangeMessageVisibilityBatch", "DeleteMessage", "GetQueueAttributes"),
}
"""Called by the local stack and by commands, with the credentials of who types them."""
ONLY_IN_TRANSACTIONS = {"DeleteItem"}
ASKING = {"_complete", "ask", "asked", "pages", "read_answer", "read_pages", "_ask", "_pages"}
"""Functions that are given the call to make, or its name."""
BY_WHAT_KEEPS = {"Decrypt", "GenerateDataKey"}
"""Called by DynamoDB, SQS, SNS and Secrets Manager on our behalf."""


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in RESOURCES.items() if r.get("Type") == kind}


def statements(function: str) -> Iterator[dict[str, Any]]:
    for statement in json.loads((CHALICE / FUNCTIONS[function]["iam_policy_file"]).read_text())["Statement"]:
        yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def actions(function: str) -> set[str]:
    return {action for s in statements(function) for action in listed(s["Action"])}


def test_the_table_of_the_template_is_the_table_of_the_code() -> None:
    table = dict(RESOURCES["Table"]["Properties"])
    defined = table_definition("any")
    assert {name: table[name] for name in defined if name != "TableName"} == {
        name: value for name, value in defined.items() if name != "TableName"
    }


def test_the_table_outlives_its_stack_and_can_be_restored() -> None:
    table = RESOURCES["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    assert table["Properties"]["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


@pytest.mark.parametrize(("function", "queue"), SOURCES.items())
def test_a_queue_hides_a_message_for_six_timeouts_and_its_window(function: str, queue: str) -> None:
    name = "on_" + queue.lower()
    windows = {"Scans": 5, "Findings": 60}
    assert RESOURCES[f"{queue}Queue"]["Properties"]["VisibilityTimeout"] == (
        6 * FUNCTIONS[name]["lambda_timeout"] + windows.get(queue, 0)
    )


def test_a_look_at_ten_large_images_ends_in_time() -> None:
    """40 pages of 25 findings, some 0.15 s each, for each of a batch of ten: a minute, and as much again to be safe."""
    assert min(FUNCTIONS[name]["lambda_timeout"] for name in ("on_scans", "on_findings")) >= 3 * 10 * 40 * 0.15


def test_a_worker_that_sends_alerts_is_dead_before_another_one_takes_over() -> None:
    assert timedelta(seconds=FUNCTIONS["on_alerts"]["lambda_timeout"]) < CLAIM


def test_only_what_the_api_does_not_need_to_exist_is_told_its_address() -> None:
    """A function that the API invokes cannot name the API: CloudFormation would have to make each before the other."""
    told = {n for n, r in RESOURCES.items() if "LAZARETTO_API_URL" in variables_of(r)}
    assert told == {"OnActions", "OnAlerts", "OnSweeps"}
    assert "LAZARETTO_API_URL" not in TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]


def variables_of(resource: dict[str, Any]) -> dict[str, Any]:
    variables: dict[str, Any] = resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
    return variables


SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:team/slack-a1B2c3"
PARAMETER_ARN = "arn:aws-us-gov:ssm:us-gov-west-1:111122223333:parameter/team/slack"
WEBHOOK = TEMPLATE["Parameters"]["WebhookSecretArn"]["AllowedPattern"]
SLACK = TEMPLATE["Parameters"]["SlackSecretArn"]["AllowedPattern"]


@pytest.mark.parametrize("reference", [SECRET_ARN, f"{SECRET_ARN}#webhook", PARAMETER_ARN, f"{PARAMETER_ARN}#webhook"])
def test_a_slack_secret_the_template_takes_is_one_the_code_reads(reference: str) -> None:
    assert re.fullmatch(SLACK, reference)
    assert reference.startswith(repr(Secret(reference, Sessions())).partition(":")[2].rstrip(")"))


@pytest.mark.parametrize(
    "reference",
    [
        SECRET_ARN.removesuffix("-a1B2c3"),
        SECRET_ARN.replace("a1B2c3", "??????"),
        f"{SECRET_ARN}#",
        f"{SECRET_ARN}#a#b",
        "secretsmanager:team/slack",
        "ssm:team/slack",
        PARAMETER_ARN.replace("team", "*"),
        "https://hooks.slack.com/services/T/B/x",
    ],
)
def test_a_slack_secret_no_permission_could_be_given_for_is_refused(reference: str) -> None:
    assert not re.fullmatch(SLACK, reference)


@pytest.mark.parametrize("queue", SOURCES.values())
def test_a_message_that_fails_five_times_is_kept_a_fortnight(queue: str) -> None:
    redrive = RESOURCES[f"{queue}Queue"]["Properties"]["RedrivePolicy"]
    assert redrive == {"deadLetterTargetArn": {"Fn::GetAtt": [f"{queue}DeadQueue", "Arn"]}, "maxReceiveCount": 5}
    assert RESOURCES[f"{queue}DeadQueue"]["Properties"]["MessageRetentionPeriod"] == 14 * 86_400


@pytest.mark.parametrize("function", SOURCES)
def test_a_bad_message_fails_alone_and_a_flood_is_throttled(function: str) -> None:
    source = RESOURCES[function]["Properties"]["Events"][f"{function}SqsEventSource"]["Properties"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"]["MaximumConcurrency"] >= 2


def test_every_rule_retries_for_a_day_and_then_keeps_what_it_could_not_deliver() -> None:
    for rule in of_type("AWS::Events::Rule").values():
        (target,) = rule["Targets"]
        queue = target["Arn"]["Fn::GetAtt"][0].removesuffix("Queue")
        assert target["RetryPolicy"] == {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86_400}
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": [f"{queue}DeadQueue", "Arn"]}}


def test_only_the_rules_of_a_queue_may_send_to_it() -> None:
    rules = of_type("AWS::Events::Rule")
    policies = of_type("AWS::SQS::QueuePolicy")
    del policies["ClockDeadQueuePolicy"]  # its rule is Chalice's
    for policy in policies.values():
        (queue,) = (reference["Ref"] for reference in policy["Queues"])
        (statement,) = policy["PolicyDocument"]["Statement"]
        allowed = {arn["Fn::GetAtt"][0] for arn in statement["Condition"]["ArnEquals"]["aws:SourceArn"]}
        target = queue.replace("Dead", "")
        assert allowed == {n for n, r in rules.items() if r["Targets"][0]["Arn"]["Fn::GetAtt"][0] == target}
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}


def test_the_rules_hear_every_trigger() -> None:
    patterns = [rule["EventPattern"] for rule in of_type("AWS::Events::Rule").values()]
    heard = {(source, kind) for p in patterns for source in p["source"] for kind in p["detail-type"]}
    assert heard == {
        ("aws.ecr", "AWS API Call via CloudTrail"),
        ("aws.ecr", "AWS Service Event via CloudTrail"),
        ("aws.ecr-public", "AWS API Call via CloudTrail"),
        ("aws.ecr", "ECR Image Action"),
        ("aws.ecr", "ECR Image Scan"),
        ("aws.ecr", "ECR Pull Through Cache Action"),
        ("aws.ecr", "ECR Referrer Action"),
        ("aws.ecr", "ECR Replication Action"),
        ("aws.ecr", "ECR Scan Resource Change"),
        ("aws.ecs", "ECS Task State Change"),
        ("aws.inspector2", "Inspector2 Coverage"),
        ("aws.inspector2", "Inspector2 Finding"),
        ("aws.inspector2", "Inspector2 Scan"),
    }
    assert all(len(json.dumps(p)) <= 2_048 for p in patterns), "the default quota of a pattern"


UNHEARD = {
    "cloudtrail-lifecycle-dry-run.json",
    "ecs-task-running.json",
    "inspector2-finding-ec2.json",
    "inspector2-scan-ec2.json",
}
"""Samples of what must not even reach a queue."""


@pytest.mark.parametrize("sample", [pytest.param(p, id=p.stem) for p in sorted((ROOT / "events").glob("*.json"))])
def test_a_sample_of_each_trigger_takes_one_rule(sample: Path) -> None:
    event = json.loads(sample.read_text())
    heard = [name for name, rule in of_type("AWS::Events::Rule").items() if matches(rule["EventPattern"], event)]
    assert len(heard) == (0 if sample.name in UNHEARD else 1), heard


def matches(pattern: dict[str, Any], event: Any) -> bool:
    """EventBridge's rules as far as ours use them. A list in an event matches where one of its elements does."""
    if isinstance(event, list):
        return any(matches(pattern, element) for element in event)
    if not isinstance(event, dict):
        return False
    return all(
        any(matches(either, event) for either in wanted)
        if name == "$or"
        else matches(wanted, event.get(name))
        if isinstance(wanted, dict)
        else any(fits(one, value) for one in wanted for value in listed(event.get(name)))
        for name, wanted in pattern.items()
    )


def fits(wanted: Any, value: Any) -> bool:
    match wanted:
        case {"exists": bool(present)}:
            return (value is not None) is present
        case {"prefix": str(prefix)}:
            return isinstance(value, str) and value.startswith(prefix)
        case {"wildcard": str(glob)}:
            return isinstance(value, str) and fnmatchcase(value, glob)
    return bool(value == wanted)


def test_every_function_has_a_policy_of_its_own() -> None:
    files = [function["iam_policy_file"] for function in FUNCTIONS.values()]
    assert len(set(files)) == len(files) == len(list(CHALICE.glob("policy-*.json")))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_policy_names_each_action(function: str) -> None:
    """What it may be done to is compared with what AWS knows and with what is called in `test_permissions.py`."""
    assert not [action for action in actions(function) if "*" in action]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nobody_may_scan_the_table(function: str) -> None:
    assert "dynamodb:Scan" not in actions(function)


def test_the_functions_may_call_what_the_adapters_call_and_nothing_else() -> None:
    allowed = {a.split(":")[1] for function in FUNCTIONS for a in actions(function) - RUNTIME_OWN}
    called = calls_of_adapters()
    assert called - BY_OTHER_NAMES - OUR_OWN - FREE - ONLY_PEOPLE - allowed == set(), "called, but allowed to nobody"
    others = BY_WHAT_KEEPS | ONLY_IN_TRANSACTIONS
    assert allowed - called == others, "allowed, but never called"


def calls_of_adapters() -> set[str]:
    """The AWS operations among all methods the adapters call, have called, or take to call them (`describe_images` is
    DescribeImages)."""
    models = (get_session().get_service_model(service) for service in SERVICES)
    operations = {xform_name(name): name for model in models for name in model.operation_names}
    trees = [ast.parse(path.read_text()) for path in (ROOT / "chalicelib/adapters").rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    asked = [part for call in calls if name_of(call.func) in ASKING for part in call.args]
    values = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    assigned = [part for value in values for part in (value.elts if isinstance(value, ast.Tuple) else (value,))]
    taken = [part for part in assigned if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Call)]
    names = {name_of(part) for part in (*(call.func for call in calls), *asked, *taken)}
    return {operations[name] for name in names & operations.keys()}


def name_of(part: ast.expr) -> Any:
    match part:
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.Constant(value=name):
            return name
    return None


def test_the_environment_of_the_functions_is_a_complete_set_of_settings() -> None:
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    roles = dict.fromkeys(("LAZARETTO_ROLE_ARNS", "LAZARETTO_ACCOUNT_ROLES"), "arn:aws:iam::111122223333:role/any")
    of_their_own = {"LAZARETTO_REGISTRIES": "us-east-1", "LAZARETTO_INSPECTOR": "delegated"}
    Settings.from_env(dict.fromkeys(variables, "1") | roles | of_their_own)
    known = (ROOT / "chalicelib/settings.py").read_text() + "".join(f'"{kind.setting}"' for kind in CHANNELS)
    assert {n for n in variables if f'"{n.removeprefix("LAZARETTO_")}"' not in known} == {"AWS_DEFAULTS_MODE"}


@pytest.mark.parametrize("reference", ["", SECRET_ARN, SECRET_ARN.replace("arn:aws:", "arn:aws-us-gov:")])
def test_a_webhook_secret_is_named_by_its_whole_arn(reference: str) -> None:
    assert re.fullmatch(WEBHOOK, reference)


@pytest.mark.parametrize(
    "reference",
    [
        SECRET_ARN.removesuffix("-a1B2c3"),
        f"{SECRET_ARN}#key",
        f"{SECRET_ARN}*",
        PARAMETER_ARN,
        "secretsmanager:team/webhook",
        "https://receiver.example.com/hook",
    ],
)
def test_a_webhook_secret_that_is_named_otherwise_is_refused(reference: str) -> None:
    assert not re.fullmatch(WEBHOOK, reference)


def bundle_of(*names: str, size: int = 1) -> zipfile.ZipFile:
    bundle = zipfile.ZipFile(io.BytesIO(), "w", zipfile.ZIP_DEFLATED)
    for name in names:
        bundle.writestr(name, b"x" * size)
    return bundle


COMPLETE = tuple(name if "." in name else f"{name}/__init__.py" for name in REQUIRED)


def test_a_complete_bundle_is_fit() -> None:
    assert check_bundle(bundle_of(*COMPLETE)) == []


def test_a_bundle_without_a_dependency_is_refused() -> None:
    assert check_bundle(bundle_of(*(n for n in COMPLETE if not n.startswith("msgspec")))) == [
        "the bundle lacks msgspec"
    ]


@pytest.mark.parametrize(
    "stray", ["boto3/__init__.py", "chalicelib/local/ecr.py", "tests/test_x.py", "pip/__main__.py"]
)
def test_a_bundle_with_what_lambda_brings_or_nobody_needs_is_refused(stray: str) -> None:
    (complaint,) = check_bundle(bundle_of(*COMPLETE, stray))
    assert complaint == f"the bundle holds {stray.rpartition('/')[0]}"


@pytest.mark.parametrize(
    "stray", ["chalicelib/domain/x.pyc", "chalicelib/.mypy_cache/x.json", "yaml-6.dist-info/direct_url.json"]
)
def test_a_bundle_with_left_overs_of_tools_is_refused(stray: str) -> None:
    assert check_bundle(bundle_of(*COMPLETE, stray)) == [f"the bundle holds the left-over {stray}"]


def test_a_heavy_bundle_is_refused() -> None:
    (complaint,) = check_bundle(bundle_of(*COMPLETE, "data.bin", size=2_000_000))
    assert "more than 20,000,000" in complaint


def compiled(*names: str, flags: int = 1) -> zipfile.ZipFile:
    bundle = zipfile.ZipFile(io.BytesIO(), "w")
    for name in names:
        bundle.writestr(name, b"magi" + flags.to_bytes(4, "little") + b"hash" * 2)
    return bundle


def running(*runtimes: str) -> dict[str, Any]:
    functions = [{"Type": "AWS::Serverless::Function", "Properties": {"Runtime": runtime}} for runtime in runtimes]
    return {"Resources": {f"Function{n}": function for n, function in enumerate(functions)}}


SOURCES_AND_BYTECODE = ("app.py", "__pycache__/app.cpython-313.pyc", "a/b.py", "a/__pycache__/b.cpython-313.pyc")


def test_a_bundle_with_the_bytecode_of_each_source_is_fit() -> None:
    assert check_bytecode(compiled(*SOURCES_AND_BYTECODE), running("python3.13", "python3.13")) == []


def test_a_source_without_bytecode_is_named() -> None:
    lacking = compiled(*SOURCES_AND_BYTECODE[:-1])
    assert check_bytecode(lacking, running("python3.13")) == ["the bundle lacks a/__pycache__/b.cpython-313.pyc"]


def test_bytecode_of_another_python_is_refused() -> None:
    lacks, holds = check_bytecode(compiled("app.py", "__pycache__/app.cpython-312.pyc"), running("python3.13"))
    assert lacks == "the bundle lacks __pycache__/app.cpython-313.pyc"
    assert holds == "the bundle holds __pycache__/app.cpython-312.pyc, which no function reads"


@pytest.mark.parametrize("flags", [0, 3])
def test_bytecode_that_is_compared_with_its_source_is_refused(flags: int) -> None:
    bundle = compiled("app.py", "__pycache__/app.cpython-313.pyc", flags=flags)
    (complaint,) = check_bytecode(bundle, running("python3.13"))
    assert complaint == "__pycache__/app.cpython-313.pyc would be compared with its source at every start"


def test_functions_of_two_runtimes_cannot_share_bytecode() -> None:
    (complaint,) = check_bytecode(compiled(*SOURCES_AND_BYTECODE), running("python3.13", "python3.12"))
    assert complaint == "the functions have no common runtime: python3.12, python3.13"


def merged(**changes: Any) -> dict[str, Any]:
    source = {"Queue": {"Fn::Sub": "arn:x:lazaretto-dev-scans"}, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
    source |= {"ScalingConfig": {"MaximumConcurrency": 2}, "MaximumBatchingWindowInSeconds": 5, **changes}
    function = {"Role": "a", "Timeout": 60, "Events": {"Source": {"Type": "SQS", "Properties": source}}}
    return {
        "Parameters": {"Stage": {"Default": "dev"}},
        "Resources": {
            "OnScans": {"Type": "AWS::Serverless::Function", "Properties": function},
            "ScansQueue": {
                "Type": "AWS::SQS::Queue",
                "Properties": {
                    "QueueName": {"Fn::Sub": "lazaretto-${Stage}-scans"},
                    "VisibilityTimeout": 365,
                    "RedrivePolicy": {},
                },
            },
        },
    }


def test_a_sound_template_is_fit() -> None:
    assert check_template(merged()) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"FunctionResponseTypes": None}, "does not report partial failures"),
        ({"ScalingConfig": {}}, "has no MaximumConcurrency"),
        ({"Queue": {"Fn::Sub": "arn:x:lazaretto-dev-scan"}}, "which no resource creates"),
        ({"MaximumBatchingWindowInSeconds": 6}, "under six time-outs"),
    ],
)
def test_a_source_that_would_lose_messages_is_refused(changes: dict[str, Any], complaint: str) -> None:
    (said,) = check_template(merged(**changes))
    assert complaint in said


def test_a_merged_property_without_a_function_behind_it_is_refused() -> None:
    template = merged()
    template["Resources"]["OnScan"] = {"Properties": {}}
    assert check_template(template) == ["OnScan has no Type: nothing to merge it into"]


def test_what_is_packaged_is_the_tree_without_command_line_and_local_stack(tmp_path: Path) -> None:
    if not (ROOT / "app.py").exists():
        pytest.skip("app.py absent")
    stage_tree(ROOT, tmp_path / "staged", "prod")
    staged = tmp_path / "staged"
    assert not any((staged / "chalicelib" / name).exists() for name in LEFT_OUT)
    assert (staged / "chalicelib/default_policy.yaml").exists()
    assert list(json.loads((staged / ".chalice/config.json").read_text())["stages"]) == ["prod"]
    stage = json.loads((staged / ".chalice/resources.json").read_text())["Parameters"]["Stage"]
    assert (stage["Default"], stage["AllowedValues"]) == ("prod", ["prod"])
