"""Check the registries that are watched: who may list them, their spokes, and the pull times that we leave."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.doctor.health import CheckResult, ago, fail, ok, skipped, unknown, warn
from chalicelib.domain.doctor.installed import EventRule, Installed, Spoke, StoredRepositories, patterns_of
from chalicelib.domain.doctor.stack import StackState, state_of
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.registry_listing import RepositoriesListed
from chalicelib.errors import UpstreamError
from chalicelib.services.ports.registry import PullTimes

LATELY = timedelta(hours=13)
"""Registries are compared every six hours; one time may be missed."""
RUNBOOK = "docs/operations.md#events-that-do-not-reach-the-hub"
Listing = Callable[[RegistryPlace], RepositoriesListed]
"""The first page of a registry's repositories."""
Roles = Mapping[RegistryPlace, tuple[str, ...]]
"""ARNs of roles by the registry they read."""
SpokeOf = Callable[[RegistryPlace], Spoke | None]


def check_registries(
    there: Installed, places: Sequence[RegistryPlace], known: StoredRepositories, listing: Listing, now: datetime
) -> CheckResult:
    """Whether each can be listed by you, and was compared by the functions."""
    sound, denied, failed, unchecked, new = list[str](), list[str](), list[str](), list[str](), list[str]()
    for place in places:
        at = known.of(place).compared_at
        recent, when = at is not None and now - at < LATELY, f"compared {ago(now - at)}" if at else "never compared"
        try:
            page = listing(place)
        except UpstreamError as error:
            if at is None:
                unchecked.append(f"{place}: {when}, and not seen: {error}")
            elif recent:
                denied.append(f"{place}: {when}, though you may not look: {error}")
            else:
                failed.append(f"{place}: {when}, and not seen: {error}")
            continue
        count = f"{len(page.repositories)}{' or more' if page.after else ''} repositories"
        if at is not None and not recent:
            failed.append(f"{place}: you can look, but the functions looked last {ago(now - at)}")
        elif at is None and page.repositories:
            new.append(f"{place}: {count}, and the functions have compared none of them yet")
        else:
            sound.append(f"{place} ({count}, {when})")
    lines, seen = (*failed, *unchecked, *new, *denied), f"{len(sound)} of {len(places)} were seen as they must be"
    sweep = f"`lazaretto sweep reconcile --stage {there.stage}`, and look here again"
    if failed:
        advice = "docs/operations.md#several-regions-and-accounts: the role there must trust ours, and let it look"
        return fail(seen, advice, lines)
    if unchecked:
        return unknown(seen, sweep, lines)
    if new:
        return warn(seen, sweep, lines)
    if denied:
        return warn(seen, "nothing, if that is meant: the functions have looked", lines)
    return ok(", ".join(sound))


def check_spokes(
    there: Installed,
    hub_bus: str | None,
    places: Sequence[RegistryPlace],
    template: Mapping[str, Any],
    spoke_of: SpokeOf,
    known: Callable[[], StoredRepositories],
    now: datetime,
) -> CheckResult:
    """Of all registries but the hub's own. `hub_bus` None: it is not known, and what a spoke sends to is only shown.
    `template`: the spoke's, as this command deploys it."""
    if not places:
        return skipped("no other registry is watched")
    patterns = patterns_of(template)
    sound, lines = list[str](), list[str]()
    wrong, unchecked, lacking = list[RegistryPlace](), list[RegistryPlace](), list[RegistryPlace]()
    for place in places:
        try:
            spoke = spoke_of(place)
        except UpstreamError as error:
            unchecked.append(place)
            lines.append(f"{place}: {_lost(known().of(place), now)}; its rules were not seen: {error}")
            continue
        if spoke is None:
            lacking.append(place)
            lines.append(f"{place}: there is none: what happens there is found by sweeps, hours later")
        elif problems := [f"{place}: {why}" for why in _wrong_with(spoke, hub_bus, patterns)]:
            wrong.append(place)
            lines += problems
        elif spoke.template != template:
            lacking.append(place)
            lines.append(f"{place}: sound, but made by the template of another version")
        else:
            sound.append(f"{place}: {len(patterns)} rules send to {spoke.hub_bus}, nothing undelivered")
    seen = f"{len(sound)} of {len(places)} are as they must be"
    if wrong:
        advice = f"{_deploy(there, wrong[0], hub_bus)}; of what was not delivered tells {RUNBOOK}"
        return fail(seen, advice, lines)
    if unchecked:
        look = f"`lazaretto doctor --stage {there.stage} --region {unchecked[0].region}`"
        return unknown(seen, _by(unchecked[0]) + look, lines)
    if lacking:
        return warn(seen, _deploy(there, lacking[0], hub_bus), lines)
    return ok("; ".join(sound))


def _deploy(there: Installed, place: RegistryPlace, hub_bus: str | None) -> str:
    _, _, _, region, account, _ = (hub_bus or ":::::").split(":")
    hub = f" --hub {account}/{region}" if hub_bus else ""
    return f"{_by(place)}`lazaretto deploy --spoke --stage {there.stage}{hub} --region {place.region}`"


def _by(place: RegistryPlace) -> str:
    return f"with credentials of {place.account}: " if place.account else ""


def _wrong_with(spoke: Spoke, hub_bus: str | None, patterns: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if state_of(spoke.status) is not StackState.READY:
        yield f"its stack is {spoke.status}"
    bus = hub_bus or spoke.hub_bus
    if spoke.hub_bus is None or spoke.hub_bus != bus:
        yield f"it was made to forward to {spoke.hub_bus or 'nothing that it tells'}"
    for name, pattern in patterns.items():
        yield from (f"{name}: {why}" for why in _wrong_rule(spoke.rules.get(name), pattern, bus))
    if spoke.dead is None:
        yield "the queue of what could not be delivered is gone"
    elif spoke.dead.messages:
        yield f"{spoke.dead.messages} events did not reach the hub"


def _wrong_rule(rule: EventRule | None, pattern: Mapping[str, Any], bus: str | None) -> Iterator[str]:
    if rule is None:
        yield "it is not there"
        return
    if not rule.enabled:
        yield f"it is {rule.state}"
    if rule.pattern != pattern:
        yield "it hears other events than the hub's"
    own = [target for target in rule.targets if target.arn == bus]
    if not own:
        yield "it does not send to the hub's bus"
    elif any(target.dead_arn is None for target in own):
        yield "what cannot be delivered is dropped"


def _lost(known: StoredRepositories, now: datetime) -> str:
    """What the last sweep found that no event had told."""
    at = known.compared_at
    return "never compared" if at is None else f"compared {ago(now - at)}, {known.lost_events} events were lost by then"


def check_pull_times(stage: str, readers: Roles, pull_times: PullTimes, *, register: bool) -> CheckResult:
    """Whether our reads leave pull times, which keep images from retention. `register`: register what is missing."""
    own = {role for roles in readers.values() for role in roles}
    if not own:
        return unknown("no function tells its role")
    if pattern := next((role for role in own if "*" in role), None):
        return unknown(f"{pattern} is a pattern: ECR excludes roles by their whole ARN")
    missing = exclude_pull_times(readers, pull_times) if register else missing_exclusions(readers, pull_times)
    lines = [f"{place}: {role}" for place, roles in missing.items() for role in roles]
    if not lines:
        return ok(f"of {len(own)} roles none leaves a pull time")
    if register:
        return ok(f"{len(lines)} were registered: no pull of ours leaves a pull time from now on")
    return warn(
        f"{len(lines)} of our roles leave pull times: retention keeps what we have looked at",
        f"`lazaretto doctor --stage {stage} --exclude-our-pulls` registers them",
        lines,
    )


def readers_of(
    places: Collection[RegistryPlace], own_roles: Collection[str], account_roles: Mapping[str, str]
) -> Roles:
    """Our roles that read each registry: the functions' own, in another account the role they assume there."""
    own = tuple(sorted(own_roles))
    return {p: own if p.account is None else tuple(filter(None, [account_roles.get(p.account)])) for p in places}


def missing_exclusions(readers: Roles, pull_times: PullTimes) -> Roles:
    """Roles that still leave pull times: ECR counts reading a manifest as a pull. Nothing is changed. Raises
    TransientError, DeniedError and UpstreamError."""
    found: dict[RegistryPlace, tuple[str, ...]] = {}
    for place, roles in readers.items():
        excluded = pull_times.excluded(place) if roles else frozenset[str]()
        if missing := tuple(role for role in roles if role not in excluded):
            found[place] = missing
    return found


def exclude_pull_times(readers: Roles, pull_times: PullTimes) -> Roles:
    """Registers what is missing, and returns it. Raises as `missing_exclusions`; registered roles stay, and a second
    run does the rest."""
    missing = missing_exclusions(readers, pull_times)
    for place, roles in missing.items():
        for role in roles:
            pull_times.exclude(place, role)
    return missing
