"""Check the registries that are watched: who may list them, their spokes, and the pull times that our reads leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.cli.doctor.doctor_context import DoctorContext
from chalicelib.domain.doctor.health import CheckResult, CheckStatus, ago, fail, ok, skipped, unknown, warn
from chalicelib.domain.doctor.installed import Spoke, StoredRepositories, patterns_of, wrong_with_rule
from chalicelib.domain.doctor.stack import StackState, state_of
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import UpstreamError

LATELY = timedelta(hours=13)
"""Registries are compared every six hours; one time may be missed."""
TRUST = "docs/operations.md#several-regions-and-accounts: the role there must trust ours, and let it look"
WORST_FIRST = (CheckStatus.FAIL, CheckStatus.UNKNOWN, CheckStatus.WARN)
UNDELIVERED = "docs/operations.md#events-that-do-not-reach-the-hub"


def _combined(found: Mapping[RegistryPlace, CheckResult]) -> CheckResult:
    """The worst status of all, with what to do about the registries that have it. Lines of the worst come first."""
    wrong = [(place, one) for place, one in found.items() if one.status is not CheckStatus.OK]
    if not wrong:
        return ok("; ".join(f"{place}: {one.seen}" for place, one in found.items()))
    wrong.sort(key=lambda item: WORST_FIRST.index(item[1].status))
    worst = wrong[0][1].status
    lines = tuple(f"{place}: {line}" for place, one in wrong for line in one.problems or (one.seen,))
    advice = "; ".join(dict.fromkeys(one.advice for _, one in wrong if one.status is worst))
    return CheckResult(worst, f"{len(found) - len(wrong)} of {len(found)} are as they must be", advice, lines)


def registries(context: DoctorContext) -> CheckResult:
    """Whether each can be listed by you, and was compared by the functions."""
    return _combined({place: _check_registry(context, place) for place in context.app.registries})


def _check_registry(context: DoctorContext, place: RegistryPlace) -> CheckResult:
    at = context.stored.of(place).compared_at
    recent = at is not None and context.now - at < LATELY
    when = f"compared {ago(context.now - at)}" if at else "never compared"
    sweep = f"`lazaretto sweep reconcile --stage {context.stage}`, then run this again"
    try:
        page = context.app.inventory.repositories(place)
    except UpstreamError as error:
        if recent:
            advice = "nothing, if that is intended: the functions can list it"
            return warn(f"{when}, but you may not list it: {error}", advice)
        seen = f"{when}, and cannot be listed: {error}"
        return fail(seen, TRUST) if at else unknown(seen, sweep)
    count = f"{len(page.repositories)}{' or more' if page.after else ''} repositories"
    if at and not recent:
        return fail(f"you can list it, but the functions compared it last {ago(context.now - at)}", TRUST)
    if not at and page.repositories:
        return warn(f"{count}, and the functions have compared none of them yet", sweep)
    return ok(f"{count}, {when}")


def spokes(context: DoctorContext) -> CheckResult:
    """Of all registries but the hub's own; where the hub is elsewhere, of this one."""
    if context.stack and context.function_settings is None:
        return unknown("the functions' settings name them, and were not read")
    if not context.spoke_places:
        return skipped("no other registry is watched")
    return _combined({place: _check_spoke(context, place) for place in context.spoke_places})


def _check_spoke(context: DoctorContext, place: RegistryPlace) -> CheckResult:
    by = f"with credentials of {place.account}: " if place.account else ""
    try:
        spoke = context.spoke(place)
    except UpstreamError as error:
        lost = _lost(context.stored.of(place), context.now)
        look = f"{by}`lazaretto doctor --stage {context.stage} --region {place.region}`"
        return unknown(f"{lost}; its rules cannot be read: {error}", look)
    template, bus = context.spoke_template, context.hub_bus
    patterns = patterns_of(template)
    _, _, _, region, account, _ = (bus or ":::::").split(":")
    hub = f" --hub {account}/{region}" if bus else ""
    deploy = f"{by}`lazaretto deploy --spoke --stage {context.stage}{hub} --region {place.region}`"
    if spoke is None:
        return warn("there is none: only sweeps find what happens there, hours later", deploy)
    if problems := list(_wrong_with(spoke, bus or spoke.hub_bus, patterns)):
        return fail("not as it must be", deploy, problems)
    if spoke.template != template:
        return warn("sound, but made by the template of another version", deploy)
    return ok(f"{len(patterns)} rules send to {spoke.hub_bus}, nothing undelivered")


def _wrong_with(spoke: Spoke, bus: str | None, patterns: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if state_of(spoke.status) is not StackState.READY:
        yield f"its stack is {spoke.status}"
    if spoke.hub_bus is None or spoke.hub_bus != bus:
        yield f"it was made to forward to {spoke.hub_bus or 'an unknown bus'}"
    for name, pattern in patterns.items():
        wrong = wrong_with_rule(spoke.rules.get(name), pattern, (bus,) if bus else (), "the hub's bus")
        yield from (f"{name}: {why}" for why in wrong)
    if spoke.dead is None:
        yield "the queue of what could not be delivered is gone"
    elif spoke.dead.messages:
        yield f"{spoke.dead.messages} events did not reach the hub: {UNDELIVERED}"


def _lost(known: StoredRepositories, now: datetime) -> str:
    """What the last sweep found that no event had told."""
    at = known.compared_at
    return "never compared" if at is None else f"compared {ago(now - at)}, {known.lost_events} events were lost by then"


def pull_times(context: DoctorContext) -> CheckResult:
    """Whether our reads leave pull times, which keep images from retention: ECR counts reading a manifest as a pull.
    With `--exclude-our-pulls` it registers the roles that are missing; after a failure a second run does the rest."""
    settings, pull_times = context.app.settings, context.app.pull_times
    # Other accounts are asked by our role in them alone: the calls name no registry.
    roles = {
        place: {settings.account_roles[place.account]} if place.account else set(settings.role_arns)
        for place in context.app.registries
        if not place.account or place.account in settings.account_roles
    }
    own = set[str]().union(*roles.values())
    if not own:
        return unknown("the settings name no role of a function")
    if pattern := next((role for role in own if "*" in role), None):
        return unknown(f"{pattern} is a pattern: ECR excludes roles by their whole ARN")
    missing = [
        (place, role) for place, ours in roles.items() if ours for role in sorted(ours - pull_times.excluded(place))
    ]
    if not missing:
        return ok(f"of {len(own)} roles none leaves a pull time")
    if not context.options.register:
        return warn(
            f"{len(missing)} of our roles leave pull times: retention keeps what we have looked at",
            f"`lazaretto doctor --stage {context.stage} --exclude-our-pulls` registers them",
            tuple(f"{place}: {role}" for place, role in missing),
        )
    for place, role in missing:
        pull_times.exclude(place, role)
    return ok(f"{len(missing)} were registered: no pull of ours leaves a pull time from now on")
