"""The channel `sns`: an alert as a readable mail, with attributes that subscriptions can filter by; and the count of
failures around any channel.

Limits (SNS API reference, Publish): subject under 100 characters of printable ASCII that begins with a letter, number
or punctuation; message 256 KiB. Data from images and advisories is sanitized line by line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chalicelib.adapters.aws.calls import aws_call
from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.message import Metric
from chalicelib.domain.images.text import ELLIPSIS, sanitize
from chalicelib.errors import LazarettoError, SettingsError
from chalicelib.services.ports.context import Channel, Meter

if TYPE_CHECKING:
    from types_boto3_sns.client import SNSClient
    from types_boto3_sns.type_defs import MessageAttributeValueTypeDef


class CountedChannel:
    def __init__(self, channel: Channel, meter: Meter) -> None:
        self._channel, self._meter = channel, meter

    @property
    def name(self) -> str:
        return self._channel.name

    def send(self, alert: Alert) -> None:
        try:
            self._channel.send(alert)
        except LazarettoError:
            self._meter.count(Metric.CHANNEL_FAILURES, by=self.name)
            raise


SUBJECT_CHARACTERS = 99
MESSAGE_BYTES = 256 * 1024 - 8 * 1024
"""Attributes count towards the 256 KiB; 8 KiB are left for them."""
LINE_CHARACTERS = 1_000
VALUE_CHARACTERS = 300
_TOPIC = re.compile(r"arn:[a-z0-9-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+")


class SnsTopic:
    """A standard topic. Raises SettingsError for anything else."""

    name = "sns"

    def __init__(self, topic_arn: str, client: SNSClient) -> None:
        if not _TOPIC.fullmatch(topic_arn):
            raise SettingsError(["the alert topic must be the ARN of a standard SNS topic"])
        self._topic_arn, self._client = topic_arn, client

    def send(self, alert: Alert) -> None:
        """Raises TransientError, DeniedError, UpstreamError."""
        with aws_call("publish an alert"):
            self._client.publish(
                TopicArn=self._topic_arn,
                Subject=subject(alert),
                Message=message(alert),
                MessageAttributes=attributes(alert),
            )


def subject(alert: Alert) -> str:
    plain = unicodedata.normalize("NFKD", sanitize(alert.title, 4 * SUBJECT_CHARACTERS)).replace(ELLIPSIS, "...")
    ascii_only = "".join(c if " " <= c <= "~" else "?" for c in f"Lazaretto: {plain}" if not unicodedata.combining(c))
    return ascii_only if len(ascii_only) <= SUBJECT_CHARACTERS else ascii_only[: SUBJECT_CHARACTERS - 3] + "..."


def message(alert: Alert) -> str:
    lines = [sanitize(alert.title, LINE_CHARACTERS), "", *_body(alert)]
    text = "\n".join(lines).strip("\n") + "\n"
    raw = text.encode()
    if len(raw) <= MESSAGE_BYTES:
        return text
    return raw[: MESSAGE_BYTES - 8].decode(errors="ignore") + f"\n{ELLIPSIS}\n"


def attributes(alert: Alert) -> dict[str, MessageAttributeValueTypeDef]:
    """What is not known is absent, so that a filter can ask for `exists`. Strings all; `kev` is `true` or `false`."""
    ref = alert.ref
    said = {
        "event": alert.event,
        "decision": alert.decision,
        "former": alert.former,
        "repository": alert.repository,
        "registry": ref.registry if ref else None,
        "region": ref.region if ref else None,
        "severity": alert.worst,
        "kev": None if ref is None or alert.decision is None else "true" if alert.kev else "false",
        "running": alert.running,
    }
    values = {name: sanitize(str(value), VALUE_CHARACTERS) for name, value in said.items() if value is not None}
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items() if value}


def _body(alert: Alert) -> Iterator[str]:
    for label, text in alert.facts:
        yield f"{label + ':':<15}{sanitize(text, LINE_CHARACTERS)}"
    more = (f"and {alert.more_findings} more",) if alert.more_findings else ()
    yield from _part("", alert.notes)
    yield from _part("In the registry", alert.registry)
    yield from _part("Why", tuple(r.line for r in alert.reasons))
    yield from _part("Worst findings", (*(f.line for f in alert.findings), *more))
    yield from _part("What hangs on it", alert.radius)
    yield from _part("What to do", alert.what_to_do)
    links = [url for url in (alert.console_url, alert.api_url) if url]
    links += [f"{sanitize(label, LINE_CHARACTERS)}: {url}" for label, url in alert.links]
    yield from ("", *links)


def _part(heading: str, lines: tuple[str, ...]) -> Iterator[str]:
    if lines:
        yield from ("", heading) if heading else ("",)
        yield from (f"- {sanitize(line, LINE_CHARACTERS)}" for line in lines)
