"""Look at a stack and what runs in it: its state, its functions, the version that answers, who may ask its API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from chalicelib.domain.doctor.health import NO_STACK, Check, CheckResult, check_of, fail, judged, ok, unknown, warn
from chalicelib.domain.doctor.installed import FUNCTIONS, DeployedFunction, Installed
from chalicelib.domain.doctor.stack import Stack, StackState, standing
from chalicelib.errors import SettingsError
from chalicelib.services.doctor.run_check import run_check

ENDPOINT = "EndpointURL"
"""The output of the stack that tells where the API is."""
REFUSED = (401, 403)
Functions = Mapping[str, DeployedFunction | None]
"""By logical id; None: it is gone."""
Signed = Callable[[], tuple[int, str | None]]
"""The status of a signed call, and the version that answers; None: it does not say."""
_WAYS_OUT = {
    StackState.BUSY: "wait for its end, then run this again",
    StackState.DEAD: "its first deployment failed: `lazaretto deploy` offers to delete what is left",
    StackState.LEFTOVER: "a deployment was never ended: `lazaretto deploy` again",
    StackState.STUCK: "it ended halfway: docs/deploy.md tells the way out",
}


def check_stack(
    there: Installed,
    functions: Callable[[], Functions],
    table_of: Callable[[DeployedFunction], str],
    unsigned: Callable[[], int],
    signed: Signed,
    version: str,
) -> Iterator[Check]:
    """`table_of`: what the settings of a function name; raises SettingsError where they are wrong. `unsigned`: the
    status of a call of the API that nobody signed. `version`: of this
    command."""
    yield check_of("stack", _stack(there))
    yield run_check("functions", lambda: _functions(there, functions()))
    yield run_check("settings", lambda: _settings(there, functions(), table_of))
    if not there.outputs.get(ENDPOINT):
        yield check_of("api", unknown(NO_STACK))
        yield check_of("version", unknown(NO_STACK))
        return
    yield run_check("api", lambda: _api(there, unsigned(), signed))
    yield run_check("version", lambda: _version(there, *signed(), version))


def _stack(there: Installed) -> CheckResult:
    deploy = f"`lazaretto deploy --stage {there.stage}`"
    if not there.status:
        return unknown(f"there is no stack {there.name}, and its queues are there: made by something else", deploy)
    stands = standing(Stack("", there.name, there.status))
    if stands is not StackState.READY:
        return fail(f"{there.name} is {there.status}", _WAYS_OUT[stands])
    seen = f"{there.name} is {there.status}, {len(there.names)} resources"
    if "ROLLBACK" in there.status:
        return warn(f"{seen}: its last deployment failed, and was taken back", f"{deploy} tells the first cause")
    if there.protected:
        return ok(f"{seen}, protected")
    return warn(f"{seen}, not protected against deletion", f"`lazaretto deploy --stage {there.stage} --protect`")


def _functions(there: Installed, functions: Functions) -> CheckResult:
    if not functions:
        return unknown(NO_STACK)
    found = {logical: function for logical, function in functions.items() if function is not None}
    problems = [f"{logical}: it is gone" for logical in dict.fromkeys((*FUNCTIONS, *functions)) if logical not in found]
    for logical, function in found.items():
        problems += [f"{logical}: {why}" for why in _wrong_with(function)]
    if len({function.code for function in found.values()}) > 1:
        problems.append("they run different code: " + ", ".join(f"{n} {f.code[:8]}" for n, f in found.items()))
    runtimes = ", ".join(sorted({function.runtime for function in found.values()}))
    return judged(
        problems,
        f"{len(found)} are active, on {runtimes}, with one code",
        "not as they must be",
        f"`lazaretto deploy --stage {there.stage}`; where that changes nothing, take back by hand what was changed",
    )


def _wrong_with(function: DeployedFunction) -> Iterator[str]:
    if function.state not in ("Active", "Inactive"):
        yield f"its state is {function.state or 'not told'} {function.reason}".strip()
    if function.last_update != "Successful":
        yield f"its last update is {function.last_update or 'not told'} {function.reason}".strip()
    if not function.code:
        yield "its code is not told"
    if function.reserved == 0:
        yield "it is throttled to nothing: its reserved concurrency is 0"


def _settings(there: Installed, functions: Functions, table_of: Callable[[DeployedFunction], str]) -> CheckResult:
    found = {logical: function for logical, function in functions.items() if function is not None}
    if not found:
        return unknown("no function tells them" if functions else NO_STACK)
    problems: dict[str, list[str]] = {}
    for logical, function in found.items():
        try:
            table = table_of(function)
        except SettingsError as error:
            wrong = list(error.problems)
        else:
            wrong = [] if table == there.name else [f"LAZARETTO_TABLE: {table}, and not {there.name}"]
        for line in wrong:
            problems.setdefault(line, []).append(logical)
    return judged(
        [f"{line} ({', '.join(logicals)})" for line, logicals in problems.items()],
        f"those of {len(found)} functions are complete, and each can be read",
        f"{len(problems)} are wrong",
        f"put the parameters right: `lazaretto deploy --stage {there.stage} --parameter NAME=VALUE`",
    )


def _api(there: Installed, unsigned: int, ask: Signed) -> CheckResult:
    if unsigned not in REFUSED:
        return fail(
            f"a call that nobody signed is answered {unsigned}",
            "somebody took IAM off the API: deploy again, and look who changed it (CloudTrail)",
        )
    signed, _ = ask()
    if signed in REFUSED:
        said = f"refuses what nobody signed ({unsigned}), and you ({signed})"
        return warn(said, _may_read(there))
    if signed != 200:
        return fail(f"a signed call is answered {signed}", "look at the log of api_handler")
    return ok(f"refuses what nobody signed ({unsigned}), answers what is signed ({signed})")


def _version(there: Installed, status: int, installed: str | None, version: str) -> CheckResult:
    if status in REFUSED:
        return unknown(f"the API does not let you ask ({status})", _may_read(there))
    if installed is None:
        return unknown(f"the API answers {status}, without a version", "look at the log of api_handler")
    if installed != version:
        return warn(f"{installed} is installed, this command is {version}", "use the same version of both")
    return ok(f"{installed}, as this command")


def _may_read(there: Installed) -> str:
    return f"to ask the API attach the policy {there.name}-read-{there.region} to yourself"
