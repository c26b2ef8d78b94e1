"""Check an account in one Region, with or without an installation: credentials, clock, scanners, trails, quotas."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.cli.doctor.doctor_context import DoctorContext
from chalicelib.domain.doctor.health import CheckResult, fail, ok, skipped, unknown, warn
from chalicelib.domain.images.image import Source
from chalicelib.domain.reconcile.scan_rule import Frequency

SIGNATURE_ENDS = timedelta(minutes=5)
"""AWS refuses signatures that are further from its own time."""
CLOSE_ENOUGH = timedelta(seconds=60)
CONCURRENCY = 25
"""Executions at once that the queues may take together."""


def credentials(context: DoctorContext) -> CheckResult:
    return ok(f"{context.caller.arn} in account {context.account}, {context.region}")


def time(context: DoctorContext) -> CheckResult:
    apart = abs(context.caller.at - context.now)
    seen = f"{apart.total_seconds():.0f} s from AWS's"
    if apart >= SIGNATURE_ENDS:
        return fail(seen, "set this machine's clock: AWS refuses signatures that are five minutes off")
    if apart > CLOSE_ENOUGH:
        return warn(seen, "set this machine's clock: ages below are off by as much")
    return ok(seen)


def scanning(context: DoctorContext) -> CheckResult:
    found = context.scanning
    if found.scanner is None:
        return unknown("this version does not know the scanner that ECR names", "a newer Lazaretto may know it")
    rules = [rule for rule in found.rules if rule.filters]
    said = ", ".join(f"{rule.frequency} for {' '.join(rule.filters)}" for rule in rules)
    seen = f"{found.scanner.value.lower()} scanning, {said or 'no rule'}"
    if any(rule.frequency is not Frequency.MANUAL for rule in rules):
        return ok(seen)
    if found.scanner is Source.BASIC:
        return warn(
            f"{seen}: Lazaretto asks for scans itself, within ECR's one a day and the policy's budget",
            f"to have each image scanned when it is pushed: `{_scan_all('BASIC', 'SCAN_ON_PUSH')}`",
        )
    return fail(f"{seen}: nothing is scanned", f"`{_scan_all('ENHANCED', 'CONTINUOUS_SCAN')}`")


def _scan_all(scanner: str, frequency: str) -> str:
    rule = f"scanFrequency={frequency},repositoryFilters=[{{filter=*,filterType=WILDCARD}}]"
    return f"aws ecr put-registry-scanning-configuration --scan-type {scanner} --rules '{rule}'"


def inspector(context: DoctorContext) -> CheckResult:
    if context.scanning.scanner is not Source.ENHANCED:
        return skipped("not asked: scanning is not enhanced")
    status = context.facts.inspector()
    if status is None:
        return unknown("Inspector did not name this account")
    if status == "ENABLED":
        return ok("scans ECR images")
    return fail(
        f"scanning of ECR is {status}, and the registry relies on it",
        "`aws inspector2 enable --resource-types ECR`; in an organisation its delegated administrator does",
    )


def scan_engine(context: DoctorContext) -> CheckResult:
    if context.scanning.scanner is not Source.BASIC:
        return skipped("not asked: scanning is not basic")
    engine = context.facts.scan_engine()
    if engine == "AWS_NATIVE":
        return ok(engine)
    change = "`aws ecr put-account-setting --name BASIC_SCAN_TYPE_VERSION --value AWS_NATIVE`"
    return warn(f"{engine}, the older engine: it knows fewer systems", change)


def trails(context: DoctorContext) -> CheckResult:
    """EventBridge receives the calls of AWS services from a trail alone."""
    trails = context.facts.trails()
    if writing := [trail.name for trail in trails if trail.writes]:
        return ok(f"{', '.join(writing)} records management events")
    names = ", ".join(trail.name for trail in trails)
    return warn(
        f"{names} records no management events that write" if names else "no trail",
        "make a trail of management events that write: without it sweeps alone find changed settings and native "
        "expiries, hours later",
    )


def concurrency(context: DoctorContext) -> CheckResult:
    limit = context.parts.concurrency()
    free = limit.unreserved_concurrent_executions
    seen = f"{free} executions at once, of {limit.concurrent_executions}, are not reserved"
    if free >= CONCURRENCY:
        return ok(seen)
    return warn(seen, f"have the quota of concurrent executions raised: the queues may take {CONCURRENCY} together")
