"""Look at what the functions may do: by IAM's policy simulator, against the policies their roles were made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from chalicelib.domain.doctor.health import Check, CheckResult, judged, skipped, unknown
from chalicelib.domain.pulls.role_rights import (
    SimulatedAction,
    SimulationRequest,
    questions_of,
    unanswered,
    wrong_answers,
)
from chalicelib.services.doctor.check_stack import NO_STACK
from chalicelib.services.doctor.run_check import run_check

Documents = Mapping[str, Mapping[str, Any]]
"""Policy documents by the name of their role."""


class Simulator(Protocol):
    def role_arn(self, name: str) -> str: ...
    def ask(self, principal: str, question: SimulationRequest) -> tuple[SimulatedAction, ...]: ...


def check_rights(
    region: str,
    documents: Callable[[], Documents] | None,
    simulator: Simulator | None,
) -> Iterator[Check]:
    """`documents` None: no stack tells them; `simulator` None: it was not asked for. `documents` raises ValueError for
    a template it cannot read."""
    yield run_check("roles", lambda: _roles(region, documents, simulator))


def _roles(region: str, documents: Callable[[], Documents] | None, simulator: Simulator | None) -> CheckResult:
    if simulator is None:
        return skipped("not simulated", "leave out --quick")
    if documents is None:
        return unknown(NO_STACK)
    try:
        asked = {role: tuple(questions_of(document, region)) for role, document in documents().items()}
    except (ValueError, KeyError) as error:
        return unknown(
            f"the template cannot be understood: {error}", "use the version of this command that deployed it"
        )
    problems, missing, calls = list[str](), list[str](), 0
    for role, questions in asked.items():
        principal = simulator.role_arn(role)
        for question in questions:
            calls += len(question.actions) * len(question.resources)
            answers = simulator.ask(principal, question)
            problems += [f"{role}: {line}" for line in wrong_answers(question, answers)]
            missing += [f"{role}: {line}" for line in unanswered(question, answers)]
    if not calls:
        return unknown("the template gives no role a right")
    return judged(
        problems,
        f"{calls} calls of {len(asked)} roles simulated, as meant (policies of keys, queues and secrets are not part)",
        f"{len(problems)} of {calls} calls are not as meant",
        "ask who keeps your service control policies and boundaries; take back by hand what was edited in a role",
        missing,
    )
