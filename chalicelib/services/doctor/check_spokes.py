"""Look at the spokes: whether the events of each other registry that is watched find their way to the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from chalicelib.domain.doctor.health import Check, CheckResult, ago, fail, ok, skipped, unknown, warn
from chalicelib.domain.doctor.installed import EventRule, Installed, Spoke, patterns_of
from chalicelib.domain.doctor.stack import Stack, StackState, standing
from chalicelib.domain.doctor.stored import StoredRepositories
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import UpstreamError
from chalicelib.services.doctor.run_check import run_check

RUNBOOK = "docs/operations.md#events-that-do-not-reach-the-hub"
SpokeOf = Callable[[RegistryPlace], Spoke | None]
"""The spoke of a registry; None: there is none."""


def check_spokes(
    there: Installed,
    hub_bus: str | None,
    places: Sequence[RegistryPlace],
    template: Mapping[str, Any],
    spoke_of: SpokeOf,
    known: Callable[[], StoredRepositories],
    now: datetime,
) -> Iterator[Check]:
    """`places`: all registries that are watched but the hub's own. `hub_bus` None: nothing tells which it is; then it
    is only told. `template`: the spoke's, as this command deploys it."""
    yield run_check("spokes", lambda: _spokes(_Wanted(there, hub_bus, template), places, spoke_of, known, now))


class _Wanted:
    """How a spoke must be."""

    def __init__(self, there: Installed, hub_bus: str | None, template: Mapping[str, Any]) -> None:
        self.stage, self.hub_bus, self.template = there.stage, hub_bus, template
        self.patterns = patterns_of(template)

    def deploy(self, place: RegistryPlace) -> str:
        _, _, _, region, account, _ = (self.hub_bus or ":::::").split(":")
        hub = f" --hub {account}/{region}" if self.hub_bus else ""
        return f"{_by(place)}`lazaretto deploy --spoke --stage {self.stage}{hub} --region {place.region}`"

    def doctor(self, place: RegistryPlace) -> str:
        return f"{_by(place)}`lazaretto doctor --stage {self.stage} --region {place.region}`"


def _by(place: RegistryPlace) -> str:
    return f"with credentials of {place.account}: " if place.account else ""


def _spokes(
    wanted: _Wanted,
    places: Sequence[RegistryPlace],
    spoke_of: SpokeOf,
    known: Callable[[], StoredRepositories],
    now: datetime,
) -> CheckResult:
    if not places:
        return skipped("no other registry is watched")
    sound, lines = list[str](), list[str]()
    wrong, blind, lacking = list[RegistryPlace](), list[RegistryPlace](), list[RegistryPlace]()
    for place in places:
        try:
            spoke = spoke_of(place)
        except UpstreamError as error:
            blind.append(place)
            lines.append(f"{place}: {_lost(known().of(place), now)}; its rules were not seen: {error}")
            continue
        if spoke is None:
            lacking.append(place)
            lines.append(f"{place}: there is none: what happens there is found by sweeps, hours later")
        elif problems := [f"{place}: {why}" for why in _wrong_with(spoke, wanted)]:
            wrong.append(place)
            lines += problems
        elif spoke.template != wanted.template:
            lacking.append(place)
            lines.append(f"{place}: sound, but made by the template of another version")
        else:
            sound.append(f"{place}: {len(wanted.patterns)} rules send to {spoke.hub_bus}, nothing undelivered")
    seen = f"{len(sound)} of {len(places)} are as they must be"
    if wrong:
        return fail(seen, f"{wanted.deploy(wrong[0])}; of what was not delivered tells {RUNBOOK}", lines)
    if blind:
        return unknown(seen, wanted.doctor(blind[0]), lines)
    if lacking:
        return warn(seen, wanted.deploy(lacking[0]), lines)
    return ok("; ".join(sound))


def _wrong_with(spoke: Spoke, wanted: _Wanted) -> Iterator[str]:
    if standing(Stack("", "", spoke.status)) is not StackState.READY:
        yield f"its stack is {spoke.status}"
    bus = wanted.hub_bus or spoke.hub_bus
    if spoke.hub_bus is None or spoke.hub_bus != bus:
        yield f"it was made to forward to {spoke.hub_bus or 'nothing that it tells'}"
    for name, pattern in wanted.patterns.items():
        yield from (f"{name}: {why}" for why in _wrong_rule(spoke.rules.get(name), pattern, bus))
    if spoke.dead is None:
        yield "the queue of what could not be delivered is gone"
    elif number := spoke.dead.waiting + spoke.dead.hidden + spoke.dead.delayed:
        yield f"{number} events did not reach the hub"


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
    """What the sweeps say where nobody may look: they find what events did not tell."""
    at = known.compared_at
    return "never compared" if at is None else f"compared {ago(now - at)}, {known.lost_events} events were lost by then"
