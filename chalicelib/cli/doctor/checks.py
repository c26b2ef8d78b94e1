"""All checks of `lazaretto doctor`, in the order in which they are made and shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.account_facts import AccountFacts
from chalicelib.cli.doctor import (
    check_account,
    check_channels,
    check_registries,
    check_rights,
    check_stack,
    check_wiring,
    check_work,
)
from chalicelib.cli.doctor.doctor_context import DoctorContext, DoctorOptions
from chalicelib.domain.channels.channel import WITH_SECRET
from chalicelib.domain.doctor.health import Check, CheckArea, CheckKind, HealthReport, fail, unknown
from chalicelib.errors import DeniedError, LazarettoError

KINDS = (
    CheckKind("credentials", CheckArea.IDENTITY, "credentials", check_account.credentials, before=True),
    CheckKind("time", CheckArea.IDENTITY, "this machine's clock", check_account.time, before=True),
    CheckKind("scanning", CheckArea.ACCOUNT, "scanning mode", check_account.scanning, before=True),
    CheckKind("inspector", CheckArea.ACCOUNT, "Amazon Inspector", check_account.inspector, before=True),
    CheckKind(
        "scan-engine",
        CheckArea.ACCOUNT,
        "engine of basic scans",
        check_account.scan_engine,
        essential=False,
        before=True,
    ),
    CheckKind("cloudtrail", CheckArea.ACCOUNT, "CloudTrail", check_account.trails, essential=False, before=True),
    CheckKind(
        "concurrency", CheckArea.ACCOUNT, "room for functions", check_account.concurrency, essential=False, before=True
    ),
    CheckKind(
        "deploy-rights",
        CheckArea.ACCOUNT,
        "your rights to deploy",
        check_rights.deploy_rights,
        before=True,
        after=False,
    ),
    CheckKind("stack", CheckArea.STACK, "stack", check_stack.stack, before=True),
    CheckKind("version", CheckArea.STACK, "version", check_stack.version, of_stack=True),
    CheckKind("functions", CheckArea.STACK, "functions", check_stack.functions, of_stack=True),
    CheckKind("settings", CheckArea.STACK, "settings", check_stack.settings, of_stack=True),
    CheckKind("api", CheckArea.STACK, "API", check_stack.api, of_stack=True),
    CheckKind("rules", CheckArea.WIRING, "rules", check_wiring.rules, of_stack=True),
    CheckKind("queues", CheckArea.WIRING, "queues", check_wiring.queues),
    CheckKind("sources", CheckArea.WIRING, "functions at their queues", check_wiring.sources, of_stack=True),
    CheckKind("dead-letters", CheckArea.WIRING, "dead letters", check_wiring.dead_letters),
    CheckKind("alarms", CheckArea.WIRING, "alarms", check_wiring.alarms, of_stack=True),
    CheckKind("table", CheckArea.STORAGE, "table", check_stack.table),
    CheckKind("key", CheckArea.STORAGE, "KMS key", check_stack.key),
    CheckKind("topic", CheckArea.CHANNELS, "SNS topic of alerts", check_channels.alert_topic),
    CheckKind("alarm-topic", CheckArea.CHANNELS, "SNS topic of alarms", check_channels.alarm_topic, essential=False),
    *(
        CheckKind(k.name, CheckArea.CHANNELS, f"{k.title} secret", partial(check_channels.secret, k))
        for k in WITH_SECRET
    ),
    CheckKind("test-alert", CheckArea.CHANNELS, "test alert", check_channels.test_alert),
    CheckKind("roles", CheckArea.RIGHTS, "rights of the functions", check_rights.roles),
    CheckKind("registries", CheckArea.RIGHTS, "registries that are watched", check_registries.registries),
    CheckKind("spokes", CheckArea.RIGHTS, "spokes of other registries", check_registries.spokes, essential=False),
    CheckKind("pull-times", CheckArea.RIGHTS, "pulls of our own", check_registries.pull_times, essential=False),
    CheckKind("policy", CheckArea.WORK, "policy", check_work.policy),
    CheckKind("fuse", CheckArea.WORK, "fuse", check_work.fuse),
    CheckKind("events", CheckArea.WORK, "last events", check_wiring.events, essential=False, of_stack=True),
    CheckKind("clock", CheckArea.WORK, "last run of the clock", check_work.clock),
    CheckKind("sweeps", CheckArea.WORK, "sweeps", check_work.sweeps),
    CheckKind("replication", CheckArea.WORK, "copies of images", check_work.replication, essential=False),
)


def run_checks(
    stage: str, sessions: Sessions, options: DoctorOptions, made: Callable[[], None] = lambda: None
) -> HealthReport:
    """`made` is called after each check. What AWS refuses is in the report, and raises nothing."""
    region = str(sessions.session.region_name)
    try:
        caller = AccountFacts(sessions).caller()
    except LazarettoError as error:
        result = fail if isinstance(error, DeniedError) else unknown
        advice = "`aws sts get-caller-identity` must answer: set --profile, or the credentials of the environment"
        return HealthReport(stage, region, None, installed=False, checks=(Check(KINDS[0], result(str(error), advice)),))
    context = DoctorContext(stage, sessions, caller, options)
    try:
        installed, spoke = context.is_installed, context.has_spoke
    except LazarettoError:
        # The check `stack` meets the same error, and tells it.
        installed = spoke = False
    checks = list[Check]()
    for kind in KINDS:
        if kind.after if installed else kind.before or (spoke and kind.id == "spokes"):
            checks.append(kind.run(context))
            made()
    return HealthReport(stage, region, caller.account, installed=installed, checks=tuple(checks))
