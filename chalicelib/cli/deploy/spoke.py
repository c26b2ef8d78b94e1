"""The spoke: a small stack that forwards the events of an account and Region to the hub, and lets the hub in.

Its template lies beside this file, needs no bucket, and is deployed from an installed Lazaretto as from a source tree.
What the hub must be told then is printed: nothing here reaches into the hub's account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chalicelib.cli.deploy.stack_changes import DONE, apply_changes, plain_change
from chalicelib.cli.deploy.stack_orders import Desk, out_of_the_way
from chalicelib.cli.framework import output
from chalicelib.domain.doctor.parameters import STAGE, choose_parameters
from chalicelib.domain.doctor.stack import Change
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.errors import InputError

TEMPLATE = Path(__file__).with_name("spoke.json")
BUS, ACCESS, NO_ROLE = "HubBusArn", "Access", "none"


def deploy_spoke(
    desk: Desk,
    hub: str | None,
    given: Mapping[str, str],
    tags: Mapping[str, str],
    *,
    protect: bool | None,
    dry_run: bool,
) -> None:
    """`hub` as ACCOUNT/REGION; None: the one the spoke has. Raises InputError, UpstreamError, typer.Abort."""
    stack = out_of_the_way(desk, dry_run)
    place = _read_hub(hub) if hub else _hub_of(stack.outputs if stack else {})
    _check(desk, place, given)
    template = spoke_template(desk.stage)
    bus = f"arn:{desk.arn.split(':')[1]}:events:{place.region}:{place.account}:event-bus/default"
    values = choose_parameters(template["Parameters"], stack.parameters if stack else (), {**given, BUS: bus})
    made = desk.stacks.make_change_set(desk.name, stack, template, values, tags)
    changes, done = apply_changes(desk, made, stack, new=stack is None, dry_run=dry_run)
    if protect is not None and not dry_run:
        desk.stacks.protect(desk.name, protect)
    _tell(desk, place, changes, done)


def spoke_template(stage: str) -> dict[str, Any]:
    """For one stage, as `make package` fixes that of the hub."""
    template: dict[str, Any] = json.loads(TEMPLATE.read_text())
    template["Parameters"][STAGE].update(Default=stage, AllowedValues=[stage])
    return template


def _read_hub(text: str) -> RegistryPlace:
    try:
        place = RegistryPlace.parse(text)
    except ValueError:
        place = None
    if place is None or place.account is None:
        raise InputError(f"--hub takes ACCOUNT/REGION (111122223333/eu-west-1), not {text[:50]!r}")
    return place


def _hub_of(outputs: Mapping[str, str]) -> RegistryPlace:
    if BUS not in outputs:
        raise InputError("a new spoke needs --hub ACCOUNT/REGION: where its events go")
    _, _, _, region, account, _ = outputs[BUS].split(":")
    return RegistryPlace(region, account)


def _check(desk: Desk, hub: RegistryPlace, given: Mapping[str, str]) -> None:
    if BUS in given:
        raise InputError(f"{BUS} is given by --hub")
    if desk.account != hub.account:
        return
    if desk.region == hub.region:
        raise InputError(f"{hub} is the hub itself: it hears its own events")
    if given.get(ACCESS, NO_ROLE) != NO_ROLE:
        raise InputError(f"{ACCESS}: in its own account the hub needs no role, only this Region in its Registries")


def _tell(desk: Desk, hub: RegistryPlace, changes: Sequence[Change], done: str) -> None:
    stack = desk.stacks.find(desk.name)
    outputs = dict(stack.outputs) if stack else {}
    parameters = _of_hub(desk, hub, outputs.get("RoleArn"))
    if desk.quiet:
        said: dict[str, Any] = {"stack": desk.name, "region": desk.region, "done": done}
        said["changes"] = [plain_change(change) for change in changes]
        said |= {"outputs": outputs, "protected": bool(stack and stack.protected), "hub": parameters}
        output.print_json(said)
        return
    output.say(DONE.get(done, f"{desk.name} is {done}."))
    if done in DONE:
        return
    output.say(
        f"Next, with credentials of the hub's account {hub.account}. Each names beside this what it names already:"
    )
    words = " ".join(f"--parameter {name}={value}" for name, value in parameters.items())
    output.say_unbroken(f"  lazaretto deploy --stage {desk.stage} --region {hub.region} {words}")
    if desk.account != hub.account and "AccountRoleArns" not in parameters:
        output.say(f"No role was made here ({ACCESS}={NO_ROLE}): the hub can look only by one made in another Region.")


def _of_hub(desk: Desk, hub: RegistryPlace, role: str | None) -> dict[str, str]:
    """What the hub's parameters must name for this spoke."""
    if desk.account == hub.account:
        return {"Registries": desk.region}
    roles = {"AccountRoleArns": role} if role else {}
    return {"Registries": str(RegistryPlace(desk.region, desk.account)), **roles, "SpokeAccountIds": desk.account}
