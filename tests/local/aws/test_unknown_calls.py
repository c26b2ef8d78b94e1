"""What the local stack does not know it says so, as AWS would; and it has every queue that the template has."""

from __future__ import annotations

import json

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.local.aws.deployment import TEMPLATE
from chalicelib.local.aws.stack import LocalStack
from tests.local.running import local_aws


@pytest.fixture(scope="module")
def aws():
    with local_aws() as running:
        yield running


@pytest.mark.parametrize(
    ("service", "call", "asked"),
    [
        ("ecr", "get_account_setting", {"name": "BASIC_SCAN_TYPE_VERSION"}),  # JSON, by a header
        ("lambda", "get_account_settings", {}),  # JSON, by a path
        ("iam", "get_service_last_accessed_details", {"JobId": "0" * 36}),  # forms and XML
    ],
)
def test_a_call_that_is_not_known_is_refused_at_once_in_the_words_of_aws(aws, service, call, asked):
    client = boto3.client(service)
    with pytest.raises(ClientError) as caught:
        getattr(client, call)(**asked)
    said = caught.value.response
    assert said["Error"]["Code"] == "UnknownOperationException"
    assert said["Error"]["Message"] == "the local stack does not know this call"
    assert said["ResponseMetadata"]["RetryAttempts"] == 0


def test_what_is_known_and_not_there_is_answered_as_before(aws):
    with pytest.raises(ClientError) as caught:
        boto3.client("lambda").get_function_configuration(FunctionName="gone")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_every_queue_of_the_template_is_there_with_its_redrive():
    resources = json.loads(TEMPLATE.read_text())["Resources"]
    named = {n: r["Properties"] for n, r in resources.items() if r.get("Type") == "AWS::SQS::Queue"}
    name = {n: p["QueueName"]["Fn::Sub"].replace("${Stage}", "dev") for n, p in named.items()}
    redrives = {name[n]: p.get("RedrivePolicy") for n, p in named.items()}
    wanted = {
        n: said and (name[said["deadLetterTargetArn"]["Fn::GetAtt"][0]], said["maxReceiveCount"])
        for n, said in redrives.items()
    }
    with LocalStack(hurry=1.0):
        sqs = boto3.client("sqs")
        found = {}
        for url in sqs.list_queues()["QueueUrls"]:
            said = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
            redrive = json.loads(said["RedrivePolicy"]) if "RedrivePolicy" in said else None
            dead = redrive and (redrive["deadLetterTargetArn"].rpartition(":")[2], redrive["maxReceiveCount"])
            found[url.rpartition("/")[2]] = dead
    assert len(wanted) == 11
    assert found == wanted
