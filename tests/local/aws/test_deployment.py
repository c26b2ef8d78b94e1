"""What the local stack takes over from the shell, and what it does not."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.local.aws.deployment import app_variables, replaced_environment
from chalicelib.settings import Settings

HASH = "a" * 64


def test_the_hashes_of_admission_tokens_are_the_one_setting_that_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    template: Any = SimpleNamespace(table="t", topic="alerts")
    monkeypatch.setenv("LAZARETTO_ADMISSION_TOKEN_HASHES", HASH)
    monkeypatch.setenv("LAZARETTO_TOPIC_ARN", "arn:aws:sns:eu-west-1:111122223333:real")
    monkeypatch.setenv("LAZARETTO_REGISTRIES", "eu-central-1")
    variables = app_variables(template, "http://127.0.0.1:1", "eu-west-1", 1, "http://127.0.0.1:2")
    with replaced_environment(variables):
        settings = Settings.from_env(os.environ)
    assert settings.admission_token_hashes == (HASH,)
    assert settings.channels["sns"].endswith(":alerts")
    assert settings.registries == ()
    monkeypatch.delenv("LAZARETTO_ADMISSION_TOKEN_HASHES")
    assert app_variables(template, "u", "eu-west-1", 1, "a")["LAZARETTO_ADMISSION_TOKEN_HASHES"] == ""
