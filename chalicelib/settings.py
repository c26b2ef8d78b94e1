"""Settings: everything the environment may say, typed, frozen, and complained about all at once. Nothing is read later.

| variable | meaning | default |
|---|---|---|
| LAZARETTO_TABLE | name of the DynamoDB table | required |
| LAZARETTO_QUEUE_SCANS, _ACTIONS, _SWEEPS | URLs of the queues we send to | required |
| LAZARETTO_STAGE | stage, part of every name we make | dev |
| LAZARETTO_SETTLE_SECONDS | time a source may need to list what it announced | 60 |
| LAZARETTO_TOPIC_ARN | SNS topic of alerts; empty: none | |
| LAZARETTO_SLACK_SECRET | Secrets Manager id, or `ssm:NAME`, of the Slack secret; empty: none | |
| LAZARETTO_SLACK_CHANNEL | channel id: the secret is a bot token; empty: it is an incoming webhook URL | |
| LAZARETTO_SLACK_LOCAL | `1` lets the Slack webhook be on 127.0.0.1 (local stack) | |
| LAZARETTO_CURSOR_SECRET | Secrets Manager id, or `ssm:NAME`, of the cursor secrets | |
| LAZARETTO_CURSOR_SECRETS | the cursor secrets themselves, newest first, by comma (local stack) | |
| LAZARETTO_API_URL | address of the API, for links in alerts; empty: none | |
| LAZARETTO_ROLE_ARNS | our functions' roles, by comma (`*` allowed): a Deny of ours leaves them out | |
| LAZARETTO_REPLICA_ROLES | roles, by comma, one in each other account that is replicated to: by it we look there | |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from chalicelib.errors import SettingsError

_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@*/-]+")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    queue_scans: str
    queue_actions: str
    queue_sweeps: str
    stage: str = "dev"
    settle: timedelta = timedelta(seconds=60)
    topic_arn: str | None = None
    slack_secret: str | None = None
    slack_channel: str | None = None
    slack_local: bool = False
    cursor_secret: str | None = None
    cursor_secrets: tuple[str, ...] = ()
    api_url: str | None = None
    role_arns: tuple[str, ...] = ()
    replica_roles: dict[str, str] = {}
    """By account."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Raises SettingsError with every missing or wrong variable."""
        read = _Reader(env)
        settings = {
            "table": read.required("TABLE"),
            "queue_scans": read.required("QUEUE_SCANS"),
            "queue_actions": read.required("QUEUE_ACTIONS"),
            "queue_sweeps": read.required("QUEUE_SWEEPS"),
            "stage": read.text("STAGE") or "dev",
            "settle": timedelta(seconds=read.number("SETTLE_SECONDS", 60, 0, 900)),
            "topic_arn": read.text("TOPIC_ARN"),
            "slack_secret": read.text("SLACK_SECRET"),
            "slack_channel": read.text("SLACK_CHANNEL"),
            "slack_local": read.text("SLACK_LOCAL") == "1",
            "cursor_secret": read.text("CURSOR_SECRET"),
            "cursor_secrets": tuple(s for s in (read.text("CURSOR_SECRETS") or "").split(",") if s),
            "api_url": read.text("API_URL"),
            "role_arns": _role_arns(read, "ROLE_ARNS"),
            "replica_roles": _replica_roles(read),
        }
        if not (settings["cursor_secret"] or settings["cursor_secrets"]):
            read.problems.append("LAZARETTO_CURSOR_SECRET: missing (or LAZARETTO_CURSOR_SECRETS)")
        if read.problems:
            raise SettingsError(read.problems)
        return msgspec.convert(settings, cls)


def _role_arns(read: _Reader, name: str) -> tuple[str, ...]:
    arns = tuple(arn.strip() for arn in (read.text(name) or "").split(",") if arn.strip())
    for arn in arns:
        if not _ROLE_ARN.fullmatch(arn):
            read.problems.append(f"LAZARETTO_{name}: {arn!r} is not like arn:aws:iam::111122223333:role/NAME")
    return arns


def _replica_roles(read: _Reader) -> dict[str, str]:
    arns = _role_arns(read, "REPLICA_ROLES")
    roles = {arn.split(":")[4]: arn for arn in arns if _ROLE_ARN.fullmatch(arn)}
    if len(roles) < len(arns) and all(_ROLE_ARN.fullmatch(arn) for arn in arns):
        read.problems.append("LAZARETTO_REPLICA_ROLES: one role for each account, and no more")
    if any("*" in arn for arn in arns):
        read.problems.append("LAZARETTO_REPLICA_ROLES: a role is assumed by its whole ARN, without *")
    return roles


class _Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env, self.problems = env, list[str]()

    def text(self, name: str) -> str | None:
        return self.env.get(f"LAZARETTO_{name}", "").strip() or None

    def required(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            self.problems.append(f"LAZARETTO_{name}: missing")
        return value or ""

    def number(self, name: str, default: float, low: float, high: float) -> float:
        text = self.text(name)
        try:
            value = default if text is None else float(text)
        except ValueError:
            self.problems.append(f"LAZARETTO_{name}: {text!r} is no number")
            return default
        if not low <= value <= high:
            self.problems.append(f"LAZARETTO_{name}: {text} is not between {low:g} and {high:g}")
            return default
        return value
