"""Secrets: from both stores, kept five minutes, never shown."""

from __future__ import annotations

import boto3
import pytest

from chalicelib.adapters.channels.secrets import KEPT_SECONDS, Secret
from chalicelib.errors import SettingsError, UpstreamError
from tests.fakes.moto_aws import mock_aws


class Here:
    """boto3 clients by service, counting what was asked for."""

    def __init__(self) -> None:
        self.asked = []

    def client(self, service, region=None):
        self.asked.append((service, region))
        return boto3.Session("testing", "testing", region_name=region or "eu-west-1").client(service)


@pytest.fixture
def here():
    with mock_aws():
        yield Here()


def kept(here, text, name="lazaretto/slack"):
    return here.client("secretsmanager").create_secret(Name=name, SecretString=text)["ARN"]


def test_a_secret_is_read_by_name_and_by_arn(here):
    arn = kept(here, "hush\n")
    assert Secret("secretsmanager:lazaretto/slack", here).read() == "hush"
    assert Secret(arn, here).read() == "hush"
    assert here.asked[-1] == ("secretsmanager", "eu-west-1")


def test_a_secure_string_is_read_decrypted_by_name_and_by_arn(here):
    here.client("ssm").put_parameter(Name="/lazaretto/slack", Value="hush", Type="SecureString")
    assert Secret("ssm:/lazaretto/slack", here).read() == "hush"
    assert Secret("arn:aws:ssm:eu-west-1:123456789012:parameter/lazaretto/slack", here).read() == "hush"


def test_a_key_of_a_json_secret_is_picked(here):
    kept(here, '{"url": " hush ", "port": 1}')
    assert Secret("secretsmanager:lazaretto/slack#url", here).read() == "hush"
    for key in ("port", "none"):
        with pytest.raises(UpstreamError, match=f"no text under the key {key}"):
            Secret(f"secretsmanager:lazaretto/slack#{key}", here).read()


def test_a_secret_that_is_no_json_is_not_repeated(here):
    kept(here, "hush")
    with pytest.raises(UpstreamError) as raised:
        Secret("secretsmanager:lazaretto/slack#url", here).read()
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_it_is_kept_for_five_minutes_and_read_anew_after_or_when_forgotten(here):
    kept(here, "old")
    now = [1000.0]
    secret = Secret("secretsmanager:lazaretto/slack", here, clock=lambda: now[0])
    assert secret.read() == "old"
    here.client("secretsmanager").put_secret_value(SecretId="lazaretto/slack", SecretString="new")
    now[0] += KEPT_SECONDS - 1
    assert secret.read() == "old"
    now[0] += 1
    assert secret.read() == "new"
    here.client("secretsmanager").put_secret_value(SecretId="lazaretto/slack", SecretString="newest")
    secret.forget()
    assert secret.read() == "newest"


def test_a_missing_secret_is_an_upstream_error_that_names_it(here):
    with pytest.raises(UpstreamError, match="secretsmanager:nothing"):
        Secret("secretsmanager:nothing", here).read()


@pytest.mark.parametrize("text", ["https://hooks.slack.com/services/hush", "xoxb-hush", "", "ssm:", "ssm:a\n"])
def test_what_names_no_secret_may_be_one_and_is_not_repeated(text):
    with pytest.raises(SettingsError) as raised:
        Secret(text, Here())
    assert "hush" not in str(raised.value)


def test_its_value_is_not_in_its_repr(here):
    kept(here, "hush")
    secret = Secret("secretsmanager:lazaretto/slack", here)
    secret.read()
    assert "hush" not in repr(secret)
