"""The environment of the local stack: what the app finds instead of AWS and of its deployment's settings.

Credentials are made up, profiles and files are shut out, and every service's endpoint is the local AWS: whatever the
person who runs this has set up for the real AWS must not be reached by mistake.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from chalicelib.domain.channels.channel import WITH_SECRET
from chalicelib.local.aws.server import ACCOUNT
from chalicelib.local.aws.template import Template

STAGE = "dev"
TOKEN_HASHES = "LAZARETTO_ADMISSION_TOKEN_HASHES"  # noqa: S105 - a name
"""Of all settings the one that is taken over: the rotation of a token can be tried."""
_SHUT_OUT = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_ROLE_ARN")
_SHUT_OUT_PREFIXES = ("AWS_ENDPOINT_URL", "AWS_IGNORE_CONFIGURED_ENDPOINT", "AWS_CONTAINER_CREDENTIALS", "LAZARETTO_")


def secret_name(channel: str) -> str:
    return f"lazaretto/{channel}"


def aws_variables(url: str, region: str) -> dict[str, str]:
    """What any program needs to talk to the local AWS; `lazaretto run` prints them as exports."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
    }


def app_variables(template: Template, url: str, region: str, settle_seconds: float, api_url: str) -> dict[str, str]:
    """What a deployment sets for the functions."""

    def queue(name: str) -> str:
        return f"{url}/{ACCOUNT}/lazaretto-{STAGE}-{name}"

    return {
        "LAZARETTO_STAGE": STAGE,
        "LAZARETTO_TABLE": template.table,
        "LAZARETTO_QUEUE_SCANS": queue("scans"),
        "LAZARETTO_QUEUE_ACTIONS": queue("actions"),
        "LAZARETTO_QUEUE_ALERTS": queue("alerts"),
        "LAZARETTO_QUEUE_SWEEPS": queue("sweeps"),
        "LAZARETTO_SETTLE_SECONDS": f"{settle_seconds:g}",
        "LAZARETTO_TOPIC_ARN": f"arn:aws:sns:{region}:{ACCOUNT}:{template.topic}",
        **{f"LAZARETTO_{kind.setting}": f"secretsmanager:{secret_name(kind.name)}" for kind in WITH_SECRET},
        **{f"LAZARETTO_{kind.local_setting}": "1" for kind in WITH_SECRET},
        "LAZARETTO_CURSOR_SECRETS": "local-stack-only",
        "LAZARETTO_API_URL": api_url,
        "LAZARETTO_ROLE_ARNS": f"arn:aws:iam::{ACCOUNT}:role/lazaretto-{STAGE}-*",
        TOKEN_HASHES: os.environ.get(TOKEN_HASHES, ""),
        "POWERTOOLS_METRICS_DISABLED": "true",
        "POWERTOOLS_LOG_LEVEL": os.environ.get("POWERTOOLS_LOG_LEVEL", "ERROR"),
    }


@contextmanager
def replaced(variables: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with `variables` and without what could lead to the real AWS; restored afterwards."""
    before = dict(os.environ)
    for name in before:
        if name in _SHUT_OUT or name.startswith(_SHUT_OUT_PREFIXES):
            del os.environ[name]
    unknown_regions = {"MOTO_ALLOW_NONEXISTENT_REGION": "true"}
    shut = {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    os.environ.update({**shut, **unknown_regions, **variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
