"""The declaration of each channel. The policy's `notify`, the settings, doctor's checks, and what is recognised as a
secret in parameters and texts derive from it; `adapters/channels/registry.py` says how a channel is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec


class ChannelKind(msgspec.Struct, frozen=True, kw_only=True):
    """`setting`: the variable, without LAZARETTO_, that sets the channel up: its secret's reference, or where it sends.

    `secret_parameter`: the template's parameter with the secret's ARN; None: the channel has no secret.
    `secret_patterns`: what such a secret looks like in a text; what group 1 matches stays in the text.
    `local_secret`: the secret of the local stack, which is called at `{url}`.
    """

    name: str
    title: str
    setting: str
    secret_parameter: str | None = None
    secret_patterns: tuple[str, ...] = ()
    local_secret: str = "{url}"  # noqa: S105 - a form

    @property
    def local_setting(self) -> str:
        """`1` lets the channel call 127.0.0.1; only the local stack sets it."""
        return f"{self.name.upper()}_LOCAL"


CHANNELS = (
    ChannelKind(name="sns", title="SNS", setting="TOPIC_ARN"),
    ChannelKind(
        name="slack",
        title="Slack",
        setting="SLACK_SECRET",
        secret_parameter="SlackSecretArn",  # noqa: S106 - a name
        secret_patterns=(r"(\bhooks\.slack(?:-gov)?\.com/)[^\s\"']+", r"()\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]+"),
    ),
    ChannelKind(
        name="webhook",
        title="Webhook",
        setting="WEBHOOK_SECRET",
        secret_parameter="WebhookSecretArn",  # noqa: S106 - a name
        secret_patterns=(r"()\bwhsec_[A-Za-z0-9+/=_-]+",),
        local_secret='{"url": "{url}", "key": "whsec_bG9jYWwgc3RhY2sgb25seSwgb3BlbnMgbm90aGluZw=="}',  # noqa: S106
    ),
)
WITH_SECRET = tuple(kind for kind in CHANNELS if kind.secret_parameter)
SECRET_PATTERNS = tuple(pattern for kind in CHANNELS for pattern in kind.secret_patterns)

if TYPE_CHECKING:
    ChannelName = str
else:
    ChannelName = Literal[tuple(sorted(kind.name for kind in CHANNELS))]
