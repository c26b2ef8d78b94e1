"""Settings: everything the environment may say, typed, frozen, and complained about all at once. Nothing is read later.

| variable | meaning | default |
|---|---|---|
| LAZARETTO_TABLE | name of the DynamoDB table | required |
| LAZARETTO_QUEUE_SCANS, _ACTIONS, _SWEEPS | URLs of the queues we send to | required |
| LAZARETTO_STAGE | stage, part of every name we make | dev |
| LAZARETTO_SETTLE_SECONDS | time a source may need to list what it announced | 60 |
| LAZARETTO_TOPIC_ARN, _SLACK_SECRET | what sets a channel up: `domain/channels/channel.py`; empty: none | |
| LAZARETTO_SLACK_CHANNEL | channel id: the secret is a bot token; empty: it is an incoming webhook URL | |
| LAZARETTO_SLACK_LOCAL | `1` lets the channel call 127.0.0.1 (local stack); so for each channel with a secret | |
| LAZARETTO_CURSOR_SECRET | Secrets Manager id, or `ssm:NAME`, of the cursor secrets | |
| LAZARETTO_CURSOR_SECRETS | the cursor secrets themselves, newest first, by comma (local stack) | |
| LAZARETTO_API_URL | address of the API, for links in alerts; empty: none | |
| LAZARETTO_ROLE_ARNS | our functions' roles, by comma (`*` allowed): a Deny of ours leaves them out | |
| LAZARETTO_ACCOUNT_ROLES | roles, by comma, one in each other account: by it we look and act there | |
| LAZARETTO_REGISTRIES | other registries that are watched, by comma: REGION (our account) or ACCOUNT/REGION | |
| LAZARETTO_INSPECTOR | `delegated`: our account is Inspector's delegated administrator; `each`: none is asked | each |
| LAZARETTO_ADMISSION_TOKEN_HASHES | SHA-256 (hex) of one or two admission tokens, by comma; empty: none is taken | |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

import msgspec

from chalicelib.domain.channels.channel import CHANNELS, WITH_SECRET
from chalicelib.domain.images.image import ACCOUNT
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import SettingsError

_TOKEN_HASH = re.compile(r"[0-9a-f]{64}")
_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@*/-]+")


class InspectorMode(StrEnum):
    """Who is asked what Inspector says of images in other accounts: Inspector there, or the delegated administrator of
    the organisation, which is our own account then."""

    EACH = "each"
    DELEGATED = "delegated"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    table: str
    queue_scans: str
    queue_actions: str
    queue_alerts: str
    queue_sweeps: str
    account: str = ""
    """Ours; empty: not known."""
    stage: str = "dev"
    consistency_delay: timedelta = timedelta(seconds=60)
    channels: dict[str, str] = {}
    """Those that are set up, by name: the topic's ARN, or the reference of the channel's secret."""
    local_channels: frozenset[str] = frozenset()
    """Those that may call 127.0.0.1: in the local stack alone."""
    slack_channel: str | None = None
    cursor_secret: str | None = None
    cursor_secrets: tuple[str, ...] = ()
    api_url: str | None = None
    role_arns: tuple[str, ...] = ()
    account_roles: dict[str, str] = {}
    """By account."""
    registries: tuple[RegistryPlace, ...] = ()
    """Beside our own in our own Region."""
    inspector: InspectorMode = InspectorMode.EACH
    admission_token_hashes: tuple[str, ...] = ()
    """Two while a token is rotated."""
    function: str = "lazaretto"
    """As Lambda names it (AWS_LAMBDA_FUNCTION_NAME); any other process with these settings is `lazaretto`."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Raises SettingsError with every missing or wrong variable."""
        read = _Reader(env)
        settings = {
            "table": read.required("TABLE"),
            "queue_scans": read.required("QUEUE_SCANS"),
            "queue_actions": read.required("QUEUE_ACTIONS"),
            "queue_alerts": read.required("QUEUE_ALERTS"),
            "queue_sweeps": read.required("QUEUE_SWEEPS"),
            "account": _account_of(read.text("QUEUE_SCANS") or ""),
            "stage": read.text("STAGE") or "dev",
            "consistency_delay": timedelta(seconds=read.number("SETTLE_SECONDS", 60, 0, 900)),
            "channels": {k.name: text for k in CHANNELS if (text := read.text(k.setting))},
            "local_channels": {k.name for k in WITH_SECRET if read.text(k.local_setting) == "1"},
            "slack_channel": read.text("SLACK_CHANNEL"),
            "cursor_secret": read.text("CURSOR_SECRET"),
            "cursor_secrets": tuple(s for s in (read.text("CURSOR_SECRETS") or "").split(",") if s),
            "api_url": read.text("API_URL"),
            "role_arns": _role_arns(read, "ROLE_ARNS"),
            "function": env.get("AWS_LAMBDA_FUNCTION_NAME") or "lazaretto",
            "admission_token_hashes": _token_hashes(read),
            **_registry_settings(read),
        }
        if not (settings["cursor_secret"] or settings["cursor_secrets"]):
            read.problems.append("LAZARETTO_CURSOR_SECRET: missing (or LAZARETTO_CURSOR_SECRETS)")
        if read.problems:
            raise SettingsError(read.problems)
        return msgspec.convert(settings, cls)


def _account_of(queue: str) -> str:
    """SQS names it in the URL of each queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME."""
    named = queue.split("/")[-2:][0]
    return named if ACCOUNT.fullmatch(named) else ""


def registry_settings(env: Mapping[str, str]) -> dict[str, Any]:
    """The settings that say which registries there are beside our own and how they are reached, for callers that find
    the others out by himself. Raises SettingsError."""
    read = _Reader(env)
    found = _registry_settings(read)
    if read.problems:
        raise SettingsError(read.problems)
    return found


def _registry_settings(read: _Reader) -> dict[str, Any]:
    roles, mode = _account_roles(read), read.text("INSPECTOR") or InspectorMode.EACH
    if mode not in list(InspectorMode):
        read.problems.append(f"LAZARETTO_INSPECTOR: {mode!r} is neither {' nor '.join(InspectorMode)}")
        mode = InspectorMode.EACH
    return {"account_roles": roles, "registries": _registries(read, roles), "inspector": InspectorMode(mode)}


def _registries(read: _Reader, roles: Mapping[str, str]) -> tuple[RegistryPlace, ...]:
    places = list[RegistryPlace]()
    own = read.env.get("AWS_REGION") or read.env.get("AWS_DEFAULT_REGION")
    for text in read.listed("REGISTRIES"):
        try:
            place = RegistryPlace.parse(text)
        except ValueError as error:
            read.problems.append(f"LAZARETTO_REGISTRIES: {error}")
            continue
        if place in places:
            read.problems.append(f"LAZARETTO_REGISTRIES: {place} is named twice")
        elif place == RegistryPlace(own or ""):
            read.problems.append(f"LAZARETTO_REGISTRIES: {place} is our own, which is always watched: leave it out")
        elif place.account is not None and place.account not in roles:
            read.problems.append(
                f"LAZARETTO_REGISTRIES: {place}: LAZARETTO_ACCOUNT_ROLES names no role in that account (a registry of "
                "our own account is written as its Region alone)"
            )
        places.append(place)
    return tuple(places)


def _role_arns(read: _Reader, name: str) -> tuple[str, ...]:
    arns = read.listed(name)
    for arn in arns:
        if not _ROLE_ARN.fullmatch(arn):
            read.problems.append(f"LAZARETTO_{name}: {arn!r} is not like arn:aws:iam::111122223333:role/NAME")
    return arns


def _token_hashes(read: _Reader) -> tuple[str, ...]:
    """What is wrong is not repeated: it may be the token itself, put there by mistake."""
    text = read.text("ADMISSION_TOKEN_HASHES")
    hashes = tuple(one.strip() for one in text.split(",")) if text else ()
    if len(hashes) > 2 or not all(map(_TOKEN_HASH.fullmatch, hashes)):
        read.problems.append(
            "LAZARETTO_ADMISSION_TOKEN_HASHES: one or two SHA-256 of tokens, each 64 digits of small hex, by comma"
        )
        return ()
    return hashes


def _account_roles(read: _Reader) -> dict[str, str]:
    arns = _role_arns(read, "ACCOUNT_ROLES")
    roles = {arn.split(":")[4]: arn for arn in arns if _ROLE_ARN.fullmatch(arn)}
    if len(roles) < len(arns) and all(_ROLE_ARN.fullmatch(arn) for arn in arns):
        read.problems.append("LAZARETTO_ACCOUNT_ROLES: one role for each account, and no more")
    if any("*" in arn for arn in arns):
        read.problems.append("LAZARETTO_ACCOUNT_ROLES: a role is assumed by its whole ARN, without *")
    return roles


class _Reader:
    """Reads variables and collects what is wrong with them."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env, self.problems = env, list[str]()

    def text(self, name: str) -> str | None:
        return self.env.get(f"LAZARETTO_{name}", "").strip() or None

    def listed(self, name: str) -> tuple[str, ...]:
        return tuple(one.strip() for one in (self.text(name) or "").split(",") if one.strip())

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
