"""Look at where people are told: the topics, the secrets of channels, and, where asked for, an alert through each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Protocol

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.channels.channel import WITH_SECRET, ChannelKind
from chalicelib.domain.doctor.health import Check, CheckResult, fail, judged, ok, skipped, unknown, warn
from chalicelib.domain.doctor.installed import Topic
from chalicelib.errors import LazarettoError
from chalicelib.services.doctor.run_check import run_check
from chalicelib.services.ports.context import Channel

TEST = "test"
WrongForm = Callable[[], str | None]
"""What is wrong with a secret's form, without telling the secret; None: nothing."""


class Topics(Protocol):
    def find(self, arn: str) -> Topic | None: ...


def check_channels(
    stage: str,
    topic_arn: str | None,
    alarm_topic_arn: str | None,
    topics: Topics,
    secrets: Mapping[str, WrongForm | None],
    channels: Mapping[str, Channel] | None,
    now: datetime,
) -> Iterator[Check]:
    """`secrets`: by channel, None for one that is not set up. `channels` None: no test alert was asked for."""
    yield run_check("topic", lambda: _topic(stage, topic_arn, topics, "alerts by SNS", "AlertEmail"))
    yield run_check("alarm-topic", lambda: _topic(stage, alarm_topic_arn, topics, "alarms", "AlarmEmail"))
    for kind in WITH_SECRET:
        yield run_check(kind.name, partial(_secret, stage, kind, secrets[kind.name]))
    yield run_check("test-alert", lambda: _test_alert(channels, stage, now))


def _topic(stage: str, arn: str | None, topics: Topics, what: str, parameter: str) -> CheckResult:
    if not arn:
        return unknown("nothing tells which it is")
    topic = topics.find(arn)
    if topic is None:
        return fail(f"there is no topic {arn}", f"`lazaretto deploy --stage {stage}`")
    waiting = f", {topic.pending} not confirmed yet" if topic.pending else ""
    if topic.confirmed:
        return ok(f"{topic.confirmed} subscribed{waiting}")
    advice = f"confirm the mail, or `lazaretto deploy --stage {stage} --parameter {parameter}=YOU@EXAMPLE.COM`"
    return warn(f"nobody has subscribed{waiting}: {what} reach nobody", advice)


def _secret(stage: str, kind: ChannelKind, wrong_form: WrongForm | None) -> CheckResult:
    if wrong_form is None:
        return skipped("not set up")
    wrong = wrong_form()
    if wrong is None:
        return ok("can be read, and has the form it must have")
    deploy = f"`lazaretto deploy --stage {stage} --parameter {kind.secret_parameter}=ARN`"
    advice = f"store another one; where its ARN changes {deploy}"
    return fail(f"can be read: {wrong}", advice)


def _test_alert(channels: Mapping[str, Channel] | None, stage: str, now: datetime) -> CheckResult:
    if channels is None:
        return skipped("not sent", "--send-test sends one through each channel")
    if not channels:
        return fail("no channel is set up: nobody would be told anything", "subscribe to the topic, or set up Slack")
    alert = test_alert(stage, now)
    failures = list[str]()
    for name in channels:
        try:
            channels[name].send(alert)
        except LazarettoError as error:
            failures.append(f"{name}: {error}")
    return judged(
        failures,
        f"{' and '.join(channels)} took it: look whether it arrived",
        f"{len(failures)} of {len(channels)} channels did not take it",
        "docs/operations.md#alarm-channel-failures",
    )


def test_alert(stage: str, now: datetime) -> Alert:
    note = f"Somebody asked for it with `lazaretto doctor --send-test --stage {stage}`. Nothing has to be done."
    return Alert(event=TEST, title=f"Test: alerts of {stage} arrive here", at=now, notes=(note,))
