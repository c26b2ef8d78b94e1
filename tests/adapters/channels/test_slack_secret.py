"""The form of the Slack secret, told without the secret."""

from __future__ import annotations

import pytest

from chalicelib.adapters.channels.slack import wrong_form

WEBHOOK = "https://hooks.slack.com/services/T000/B000/xyz"
TOKEN = "xoxb-1234567890-abcdefghij"


@pytest.mark.parametrize(("text", "bot"), [(WEBHOOK, False), (TOKEN, True)])
def test_a_secret_of_its_form_is_not_complained_about(text: str, bot: bool) -> None:
    assert wrong_form(text, bot=bot) is None


@pytest.mark.parametrize(
    ("text", "bot"),
    [
        (TOKEN, False),
        (WEBHOOK, True),
        ("https://hooks.slack.com.example.com/services/x", False),
        ("http://127.0.0.1:8000/slack", False),
        ("xoxp-1234567890-abcdefghij", True),
        ("", True),
        ("", False),
    ],
)
def test_a_secret_of_another_form_is_told_and_not_repeated(text: str, bot: bool) -> None:
    said = wrong_form(text, bot=bot)
    assert said is not None
    assert not text or text not in said


def test_the_local_stacks_own_webhook_is_of_the_form_there_alone() -> None:
    assert wrong_form("http://127.0.0.1:8000/slack", bot=False, local=True) is None
