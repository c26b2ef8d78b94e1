"""Check an account in one Region, with or without an installation: credentials, clock, scanners, trails, quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.doctor.health import Check, CheckResult, check_of, fail, ok, run_check, skipped, unknown, warn
from chalicelib.domain.doctor.installed import Caller, Trail
from chalicelib.domain.images.image import Source
from chalicelib.domain.reconcile.scan_rule import Frequency, RegistryScanning

SIGNATURE_ENDS = timedelta(minutes=5)
"""AWS refuses signatures further from its own time."""
CLOSE_ENOUGH = timedelta(seconds=60)
CONCURRENCY = 25
"""Executions at once that the queues may take together."""


class Account(Protocol):
    def inspector(self) -> str | None: ...
    def scan_engine(self) -> str: ...
    def trails(self) -> Sequence[Trail]: ...


def check_account(
    caller: Caller,
    region: str,
    now: datetime,
    scanning: Callable[[], RegistryScanning],
    account: Account,
    concurrency: Callable[[], tuple[int, int]],
) -> Iterator[Check]:
    """`concurrency`: executions at once, all and those not reserved."""
    yield check_of("credentials", ok(f"{caller.arn} in account {caller.account}, {region}"))
    yield check_of("time", _time(caller.at, now))
    yield run_check("scanning", lambda: _scanning(scanning()))
    yield run_check("inspector", lambda: _inspector(scanning().scanner, account))
    yield run_check("scan-engine", lambda: _engine(scanning().scanner, account))
    yield run_check("cloudtrail", lambda: _trails(account.trails()))
    yield run_check("concurrency", lambda: _concurrency(*concurrency()))


def _time(aws: datetime, ours: datetime) -> CheckResult:
    apart = abs(aws - ours)
    said = f"{apart.total_seconds():.0f} s from AWS's"
    if apart >= SIGNATURE_ENDS:
        return fail(said, "set this machine's clock: AWS refuses signatures that are five minutes off")
    if apart > CLOSE_ENOUGH:
        return warn(said, "set this machine's clock: ages below are off by as much")
    return ok(said)


def _scanning(found: RegistryScanning) -> CheckResult:
    if found.scanner is None:
        return unknown("ECR names a scanner that is not known here", "a newer Lazaretto may know it")
    rules = ", ".join(f"{rule.frequency} for {' '.join(rule.filters)}" for rule in found.rules if rule.filters)
    seen = f"{found.scanner.value.lower()} scanning, {rules or 'no rule'}"
    if any(rule.filters and rule.frequency is not Frequency.MANUAL for rule in found.rules):
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


def _inspector(scanner: Source | None, account: Account) -> CheckResult:
    if scanner is not Source.ENHANCED:
        return skipped("not asked: scanning is not enhanced")
    status = account.inspector()
    if status is None:
        return unknown("Inspector did not name this account")
    if status == "ENABLED":
        return ok("scans ECR images")
    return fail(
        f"scanning of ECR is {status}, and the registry relies on it",
        "`aws inspector2 enable --resource-types ECR`; in an organisation its delegated administrator does",
    )


def _engine(scanner: Source | None, account: Account) -> CheckResult:
    if scanner is not Source.BASIC:
        return skipped("not asked: scanning is not basic")
    engine = account.scan_engine()
    if engine == "AWS_NATIVE":
        return ok(engine)
    change = "`aws ecr put-account-setting --name BASIC_SCAN_TYPE_VERSION --value AWS_NATIVE`"
    return warn(f"{engine}, the older engine: it knows fewer systems", change)


def _trails(trails: Sequence[Trail]) -> CheckResult:
    """EventBridge receives the calls of AWS services from a trail alone."""
    if writing := [trail.name for trail in trails if trail.logging and trail.management]:
        return ok(f"{', '.join(writing)} records management events")
    names = ", ".join(trail.name for trail in trails)
    return warn(
        f"{names} records no management events that write" if names else "no trail",
        "make a trail of management events that write: without it sweeps alone find changed settings and native "
        "expiries, hours later",
    )


def _concurrency(all_: int, unreserved: int) -> CheckResult:
    seen = f"{unreserved} executions at once, of {all_}, are not reserved"
    if unreserved >= CONCURRENCY:
        return ok(seen)
    return warn(seen, f"have the quota of concurrent executions raised: the queues may take {CONCURRENCY} together")
