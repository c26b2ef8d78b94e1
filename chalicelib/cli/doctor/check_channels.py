"""Check the channels of alerts: the topics, the secrets, and, with `--send-test`, a test alert through each."""

from __future__ import annotations

from datetime import datetime

from chalicelib.adapters.channels.registry import secret_checks
from chalicelib.cli.doctor.doctor_context import DoctorContext
from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.channels.channel import ChannelKind
from chalicelib.domain.doctor.health import CheckResult, fail, judged, ok, skipped, unknown, warn
from chalicelib.errors import LazarettoError

TEST = "test"


def alert_topic(context: DoctorContext) -> CheckResult:
    return _topic(context, context.app.settings.channels.get("sns"), "alerts by SNS", "AlertEmail")


def alarm_topic(context: DoctorContext) -> CheckResult:
    return _topic(context, context.names.get("AlarmTopic"), "alarms", "AlarmEmail")


def _topic(context: DoctorContext, arn: str | None, what: str, parameter: str) -> CheckResult:
    if not arn:
        return unknown("its ARN is unknown")
    topic = context.parts.topic(arn)
    if topic is None:
        return fail(f"there is no topic {arn}", context.deploy)
    pending = topic.subscriptions_pending
    waiting = f", {pending} not confirmed yet" if pending else ""
    if topic.subscriptions_confirmed:
        return ok(f"{topic.subscriptions_confirmed} subscribed{waiting}")
    deploy = f"`lazaretto deploy --stage {context.stage} --parameter {parameter}=YOU@EXAMPLE.COM`"
    return warn(f"no subscriber{waiting}: {what} do not arrive anywhere", f"confirm the mail, or {deploy}")


def secret(kind: ChannelKind, context: DoctorContext) -> CheckResult:
    """Never repeats the secret."""
    wrong_form = secret_checks(context.app.settings, context.sessions)[kind.name]
    if wrong_form is None:
        return skipped("not set up")
    if wrong := wrong_form():
        deploy = f"`lazaretto deploy --stage {context.stage} --parameter {kind.secret_parameter}=ARN`"
        return fail(f"can be read: {wrong}", f"store another one; where its ARN changes {deploy}")
    return ok("can be read, and has the form it must have")


def test_alert(context: DoctorContext) -> CheckResult:
    if not context.options.send_test:
        return skipped("not sent", "--send-test sends one through each channel")
    channels = context.app.channels
    if not channels:
        return fail("no channel is set up: no alert is delivered", "subscribe to the topic, or set up Slack")
    alert, failures = compose_test_alert(context.stage, context.now), list[str]()
    for name, channel in channels.items():
        try:
            channel.send(alert)
        except LazarettoError as error:
            failures.append(f"{name}: {error}")
    return judged(
        failures,
        f"{' and '.join(channels)} took it: check that it arrived",
        "docs/operations.md#alarm-channel-failures",
        f"{len(failures)} of {len(channels)} channels did not take it",
    )


def compose_test_alert(stage: str, now: datetime) -> Alert:
    note = f"`lazaretto doctor --send-test --stage {stage}` sent it. You need not do anything."
    return Alert(event=TEST, title=f"Test: alerts of {stage} arrive here", at=now, notes=(note,))
