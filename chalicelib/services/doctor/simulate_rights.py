"""Ask IAM's policy simulator whether a principal may do what it must, and must not do what it must not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from chalicelib.domain.pulls.role_rights import SimulatedAction, SimulationRequest, unanswered, wrong_answers

Ask = Callable[[str, SimulationRequest], tuple[SimulatedAction, ...]]
"""The simulator's answers for a principal."""


class SimulatedRights(msgspec.Struct, frozen=True):
    """A line for each call that is answered otherwise than it must be, and for each that is not answered."""

    calls: int = 0
    wrong: tuple[str, ...] = ()
    unanswered: tuple[str, ...] = ()


def simulate_rights(
    principal: str, requests: Iterable[SimulationRequest], ask: Ask, label: str = ""
) -> SimulatedRights:
    """`label` precedes each line. Raises what `ask` raises."""
    asked = [(request, ask(principal, request)) for request in requests]
    return SimulatedRights(
        sum(len(request.actions) * len(request.resources) for request, _ in asked),
        tuple(label + line for request, answers in asked for line in wrong_answers(request, answers)),
        tuple(label + line for request, answers in asked for line in unanswered(request, answers)),
    )
