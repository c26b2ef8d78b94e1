"""Check what the caller may do: the calls of a deployment, simulated by IAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chalicelib.domain.doctor.deploy_rights import deploy_questions
from chalicelib.domain.doctor.health import Check, CheckResult, judged, skipped, warn
from chalicelib.domain.doctor.installed import Caller
from chalicelib.services.doctor.run_check import run_check
from chalicelib.services.doctor.simulate_rights import Ask, simulate_rights


def check_deploy_rights(
    caller: Caller, region: str, principal: Callable[[], str | None], ask: Ask | None
) -> Iterator[Check]:
    """`principal`: whose policies hold for the caller; None: the root's. `ask` None: `--quick` leaves it out."""
    yield run_check("deploy-rights", lambda: _deploy_rights(caller, region, principal, ask))


def _deploy_rights(caller: Caller, region: str, principal_of: Callable[[], str | None], ask: Ask | None) -> CheckResult:
    if ask is None:
        return skipped("not simulated", "leave out --quick")
    principal = principal_of()
    if principal is None:
        return warn("you are the account's root", "do it as a role: the root has no policies, and no limits")
    questions = deploy_questions(caller.arn.split(":")[1], region, caller.account)
    found = simulate_rights(principal, questions, ask)
    return judged(
        found.wrong,
        f"{found.calls} calls simulated for {principal}, all allowed",
        f"{len(found.wrong)} of {found.calls} calls are not allowed to {principal}",
        "give whoever deploys these rights (docs/deploy.md)",
        found.unanswered,
    )
