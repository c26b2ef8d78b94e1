"""The nearest right word, and secrets left out of a text."""

from __future__ import annotations

import time

import pytest

from chalicelib.domain.images.text import nearest, some_of, without_secrets

NAMES = ["severity", "packageManager", "HIGH", "CRITICAL"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sevrity", "severity"), ("HGIH", "HIGH"), ("hgih", "HIGH"), ("packagemanger", "packageManager")],
)
def test_a_name_that_was_mistyped_is_found_whatever_its_case(name: str, meant: str) -> None:
    assert nearest(name, NAMES) == meant


@pytest.mark.parametrize("name", ["", "banana", "x" * 10_000])
def test_what_is_like_none_of_them_is_none(name: str) -> None:
    assert nearest(name, NAMES) is None


def test_where_there_are_no_names_none_is_near() -> None:
    assert nearest("severity", []) is None


HUSH = "hushhushhush1"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("POST https://hooks.slack.com/services/T0/B0/hushhushhush1 failed", "POST https://hooks.slack.com/… failed"),
        ("to https://eu.example/a?X-Amz-Signature=hushhushhush1&b=1 it", "to https://eu.example/a?… it"),
        ("https://user:hushhushhush1@mirror.example/v2/", "https://…mirror.example/v2/"),
        ("Authorization: Basic hushhushhush1, and more hushhushhush1", "Authorization: …"),
        ('"authorization": "Bearer hushhushhush1"', '"authorization": …'),
        ("sent Bearer hushhushhush1 to it", "sent Bearer … to it"),
        ("x-amz-security-token:'hushhushhush1' is over", "x-amz-security-token:'…' is over"),
        ("DB_PASSWORD=hushhushhush1; NAME=x", "DB_PASSWORD=…; NAME=x"),
        ('{"authorizationToken": "hushhushhush1"}', '{"authorizationToken": "…"}'),
        ("xoxb-1-2-hushhushhush1 is revoked", "… is revoked"),
        ("AKIAIOSFODNN7EXAMPLE is unknown", "… is unknown"),
        ("-----BEGIN RSA PRIVATE KEY-----\nhushhushhush1", "-----BEGIN RSA PRIVATE KEY-----…"),
        ("eyJ" * 100, "…"),
    ],
)
def test_what_has_the_form_of_a_secret_is_left_out(text: str, left: str) -> None:
    assert without_secrets(text) == left
    assert HUSH not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "read Secret(secretsmanager:lazaretto/slack): An error occurred (ResourceNotFoundException)",
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:team/slack-a1B2c3 is not there",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api@sha256:" + "a" * 64,
        "access denied (ecs:ListTasks)",
        "User: arn:aws:sts::111122223333:assumed-role/x/y is not authorized to perform: secretsmanager:GetSecretValue",
        "the basic scan of token-service:v1 is bearer of news",
        "see https://console.aws.amazon.com/ecr/repositories",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text", ["://" * 20_000, "secret" * 20_000, "token=" * 20_000, "-" * 100_000, "a_token" * 10_000]
)
def test_a_hostile_text_takes_no_long_time(text: str) -> None:
    begun = time.perf_counter()
    without_secrets(text[:20_000])
    assert time.perf_counter() - begun < 2


def test_of_many_texts_the_first_are_given_and_the_rest_is_counted() -> None:
    assert some_of(["a", "b"], 2) == ("a", "b")
    assert some_of(["a", "b", "c"], 1) == ("a", "and 2 more")
