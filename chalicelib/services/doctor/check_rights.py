"""Check what the functions may do: by IAM's policy simulator, against the policies their roles were made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib.domain.doctor.health import NO_STACK, Check, CheckResult, judged, skipped, unknown
from chalicelib.domain.pulls.role_rights import questions_of
from chalicelib.services.doctor.run_check import run_check
from chalicelib.services.doctor.simulate_rights import Ask, simulate_rights

Documents = Mapping[str, Mapping[str, Any]]
"""Policy documents by the name of their role."""


def check_rights(
    region: str, documents: Callable[[], Documents] | None, role_arn: Callable[[str], str], ask: Ask | None
) -> Iterator[Check]:
    """`documents` None: no stack tells them; raises ValueError for a template it cannot read. `ask` None: `--quick`
    leaves it out."""
    yield run_check("roles", lambda: _roles(region, documents, role_arn, ask))


def _roles(
    region: str, documents: Callable[[], Documents] | None, role_arn: Callable[[str], str], ask: Ask | None
) -> CheckResult:
    if ask is None:
        return skipped("not simulated", "leave out --quick")
    if documents is None:
        return unknown(NO_STACK)
    try:
        requests = {role: tuple(questions_of(document, region)) for role, document in documents().items()}
    except (ValueError, KeyError) as error:
        advice = "use the version of this command that deployed it"
        return unknown(f"the template cannot be understood: {error}", advice)
    found = [simulate_rights(role_arn(role), own, ask, f"{role}: ") for role, own in requests.items()]
    calls, wrong = sum(one.calls for one in found), [line for one in found for line in one.wrong]
    if not calls:
        return unknown("the template gives no role a right")
    return judged(
        wrong,
        f"{calls} calls of {len(found)} roles simulated, as meant (policies of keys, queues and secrets are not part)",
        f"{len(wrong)} of {calls} calls are not as meant",
        "ask who keeps your service control policies and boundaries; take back by hand what was edited in a role",
        [line for one in found for line in one.unanswered],
    )
