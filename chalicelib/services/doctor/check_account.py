"""Look at an account in one Region, with an installation or before one: time, scanner, trails, quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from chalicelib.domain.doctor.health import Check, CheckResult, check_of, fail, ok, skipped, unknown, warn
from chalicelib.domain.doctor.installed import Caller, Trail
from chalicelib.domain.images.image import Source
from chalicelib.domain.reconcile.scan_rule import Frequency, RegistryScanning
from chalicelib.services.doctor.run_check import run_check

SIGNATURE_ENDS = timedelta(minutes=5)
"""AWS refuses what was signed further from its own time."""
CLOSE_ENOUGH = timedelta(seconds=60)
WANTED = 25
"""Executions at once that the queues may take together."""
NATIVE = "AWS_NATIVE"


def check_account(
    caller: Caller,
    region: str,
    now: datetime,
    scanning: Callable[[], RegistryScanning],
    inspector: Callable[[], str | None],
    scan_engine: Callable[[], str],
    trails: Callable[[], Sequence[Trail]],
    room: Callable[[], tuple[int, int]],
) -> Iterator[Check]:
    """`inspector`: its word for the scanning of ECR. `room`: executions at once, all and those not reserved."""
    yield check_of("credentials", ok(f"{caller.arn} in account {caller.account}, {region}"))
    yield check_of("time", _time(caller.at, now))
    yield run_check("scanning", lambda: _scanning(scanning()))
    yield run_check("inspector", lambda: _inspector(scanning().scanner, inspector))
    yield run_check("scan-engine", lambda: _engine(scanning().scanner, scan_engine))
    yield run_check("cloudtrail", lambda: _trails(trails()))
    yield run_check("concurrency", lambda: _room(*room()))


def _time(aws: datetime, ours: datetime) -> CheckResult:
    """AWS tells whole seconds."""
    apart = abs(aws - ours)
    said = f"{apart.total_seconds():.0f} s from AWS's"
    if apart >= SIGNATURE_ENDS:
        return fail(said, "set this machine's clock: AWS refuses signatures that are five minutes off")
    if apart > CLOSE_ENOUGH:
        return warn(said, "set this machine's clock: ages below are off by as much")
    return ok(said)


def _scanning(found: RegistryScanning) -> CheckResult:
    words = _rule_words(found)
    if found.scanner is None:
        return unknown("ECR names a scanner that is not known here", "a newer Lazaretto may know it")
    if any(rule.filters and rule.frequency is not Frequency.MANUAL for rule in found.rules):
        return ok(words)
    if found.scanner is Source.BASIC:
        return warn(
            f"{words}: Lazaretto asks for scans itself, within ECR's one a day and the policy's budget",
            f"to have each image scanned when it is pushed: `{_scan_all('BASIC', 'SCAN_ON_PUSH')}`",
        )
    return fail(f"{words}: nothing is scanned", f"`{_scan_all('ENHANCED', 'CONTINUOUS_SCAN')}`")


def _scan_all(scanner: str, frequency: str) -> str:
    """As a shell takes it."""
    rule = f"scanFrequency={frequency},repositoryFilters=[{{filter=*,filterType=WILDCARD}}]"
    return f"aws ecr put-registry-scanning-configuration --scan-type {scanner} --rules '{rule}'"


def _rule_words(found: RegistryScanning) -> str:
    scanner = found.scanner.value.lower() if found.scanner else "unknown"
    rules = ", ".join(f"{rule.frequency} for {' '.join(rule.filters)}" for rule in found.rules if rule.filters)
    return f"{scanner} scanning, {rules or 'no rule'}"


def _inspector(scanner: Source | None, inspector: Callable[[], str | None]) -> CheckResult:
    if scanner is not Source.ENHANCED:
        return skipped("not asked: scanning is not enhanced")
    status = inspector()
    if status is None:
        return unknown("Inspector did not name this account")
    if status == "ENABLED":
        return ok("scans ECR images")
    return fail(
        f"scanning of ECR is {status}, and the registry relies on it",
        "`aws inspector2 enable --resource-types ECR`; in an organisation its delegated administrator does",
    )


def _engine(scanner: Source | None, scan_engine: Callable[[], str]) -> CheckResult:
    if scanner is not Source.BASIC:
        return skipped("not asked: scanning is not basic")
    engine = scan_engine()
    if engine == NATIVE:
        return ok(engine)
    change = "`aws ecr put-account-setting --name BASIC_SCAN_TYPE_VERSION --value AWS_NATIVE`"
    return warn(f"{engine}, the older engine: it knows fewer systems", change)


def _trails(trails: Sequence[Trail]) -> CheckResult:
    """EventBridge is given calls of AWS's services by a trail alone. Whether it is can be seen only when one comes."""
    lost = "without it changed settings and native expiries are found by sweeps only, hours later"
    writing = [trail.name for trail in trails if trail.logging and trail.management]
    if writing:
        return ok(f"{', '.join(writing)} records management events")
    silent = [trail.name for trail in trails]
    seen = f"{', '.join(silent)} records no management events that write" if silent else "no trail"
    return warn(seen, f"make a trail of management events that write: {lost}")


def _room(all_: int, unreserved: int) -> CheckResult:
    seen = f"{unreserved} executions at once, of {all_}, are not reserved"
    if unreserved >= WANTED:
        return ok(seen)
    return warn(seen, f"have the quota of concurrent executions raised: the queues may take {WANTED} together")
