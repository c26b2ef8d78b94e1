"""Check the channels of alerts: the topics, the secrets, and, with `--send-test`, a test alert through each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.channels.channel import WITH_SECRET, ChannelKind
from chalicelib.domain.doctor.health import Check, CheckResult, fail, judged, ok, run_check, skipped, unknown, warn
from chalicelib.domain.doctor.installed import Installed, Topic
from chalicelib.errors import LazarettoError
from chalicelib.services.ports.context import Channel

TEST = "test"
TopicOf = Callable[[str], Topic | None]
WrongForm = Callable[[], str | None]
"""What is wrong with a secret's form, without the secret itself; None: nothing."""


def check_channels(
    there: Installed,
    topic_arn: str | None,
    topic_of: TopicOf,
    secrets: Mapping[str, WrongForm | None],
    channels: Mapping[str, Channel] | None,
    now: datetime,
) -> Iterator[Check]:
    """`secrets`: by channel, None for one that is not set up. `channels` None: no test alert was asked for."""
    alarms = there.names.get("AlarmTopic")
    yield run_check("topic", lambda: _topic(there, topic_arn, topic_of, "alerts by SNS", "AlertEmail"))
    yield run_check("alarm-topic", lambda: _topic(there, alarms, topic_of, "alarms", "AlarmEmail"))
    for kind in WITH_SECRET:
        yield run_check(kind.name, partial(_secret, there, kind, secrets[kind.name]))
    yield run_check("test-alert", lambda: _test_alert(channels, there.stage, now))


def _topic(there: Installed, arn: str | None, topic_of: TopicOf, what: str, parameter: str) -> CheckResult:
    if not arn:
        return unknown("nothing tells which it is")
    topic = topic_of(arn)
    if topic is None:
        return fail(f"there is no topic {arn}", there.deploy)
    waiting = f", {topic.pending} not confirmed yet" if topic.pending else ""
    if topic.confirmed:
        return ok(f"{topic.confirmed} subscribed{waiting}")
    advice = f"confirm the mail, or `lazaretto deploy --stage {there.stage} --parameter {parameter}=YOU@EXAMPLE.COM`"
    return warn(f"no subscriber{waiting}: {what} reach nobody", advice)


def _secret(there: Installed, kind: ChannelKind, wrong_form: WrongForm | None) -> CheckResult:
    if wrong_form is None:
        return skipped("not set up")
    if wrong := wrong_form():
        deploy = f"`lazaretto deploy --stage {there.stage} --parameter {kind.secret_parameter}=ARN`"
        return fail(f"can be read: {wrong}", f"store another one; where its ARN changes {deploy}")
    return ok("can be read, and has the form it must have")


def _test_alert(channels: Mapping[str, Channel] | None, stage: str, now: datetime) -> CheckResult:
    if channels is None:
        return skipped("not sent", "--send-test sends one through each channel")
    if not channels:
        return fail("no channel is set up: alerts reach nobody", "subscribe to the topic, or set up Slack")
    alert, failures = test_alert(stage, now), list[str]()
    for name, channel in channels.items():
        try:
            channel.send(alert)
        except LazarettoError as error:
            failures.append(f"{name}: {error}")
    return judged(
        failures,
        f"{' and '.join(channels)} took it: look whether it arrived",
        f"{len(failures)} of {len(channels)} channels did not take it",
        "docs/operations.md#alarm-channel-failures",
    )


def test_alert(stage: str, now: datetime) -> Alert:
    note = f"`lazaretto doctor --send-test --stage {stage}` sent it. You need not do anything."
    return Alert(event=TEST, title=f"Test: alerts of {stage} arrive here", at=now, notes=(note,))
