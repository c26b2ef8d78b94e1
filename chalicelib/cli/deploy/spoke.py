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
from chalicelib.cli.deploy.stack_orders import DeployContext, out_of_the_way
from chalicelib.cli.framework import output
from chalicelib.domain.doctor.parameters import STAGE, choose_parameters
from chalicelib.domain.doctor.stack import StackChange
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import InputError

TEMPLATE = Path(__file__).with_name("spoke.json")
BUS, ACCESS, NO_ROLE = "HubBusArn", "Access", "none"


def deploy_spoke(
    deploy_context: DeployContext,
    hub: str | None,
    given: Mapping[str, str],
    tags: Mapping[str, str],
    *,
    protect: bool | None,
    dry_run: bool,
) -> None:
    """`hub` as ACCOUNT/REGION; None: the one the spoke has. Raises InputError, UpstreamError, typer.Abort."""
    stack = out_of_the_way(deploy_context, dry_run)
    place = _read_hub(hub) if hub else _hub_of(stack.outputs if stack else {})
    _check(deploy_context, place, given)
    template = spoke_template(deploy_context.stage)
    bus = f"arn:{deploy_context.arn.split(':')[1]}:events:{place.region}:{place.account}:event-bus/default"
    values = choose_parameters(template["Parameters"], stack.parameters if stack else (), {**given, BUS: bus})
    made = deploy_context.stacks.make_change_set(deploy_context.name, stack, template, values, tags)
    changes, done = apply_changes(deploy_context, made, stack, new=stack is None, dry_run=dry_run)
    if protect is not None and not dry_run:
        deploy_context.stacks.protect(deploy_context.name, protect)
    _tell(deploy_context, place, changes, done)


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


def _check(deploy_context: DeployContext, hub: RegistryPlace, given: Mapping[str, str]) -> None:
    if BUS in given:
        raise InputError(f"{BUS} is given by --hub")
    if deploy_context.account != hub.account:
        return
    if deploy_context.region == hub.region:
        raise InputError(f"{hub} is the hub itself: it hears its own events")
    if given.get(ACCESS, NO_ROLE) != NO_ROLE:
        raise InputError(f"{ACCESS}: in its own account the hub needs no role, only this Region in its Registries")


def _tell(deploy_context: DeployContext, hub: RegistryPlace, changes: Sequence[StackChange], done: str) -> None:
    stack = deploy_context.stacks.find(deploy_context.name)
    outputs = dict(stack.outputs) if stack else {}
    parameters = _of_hub(deploy_context, hub, outputs.get("RoleArn"))
    if deploy_context.quiet:
        said: dict[str, Any] = {"stack": deploy_context.name, "region": deploy_context.region, "done": done}
        said["changes"] = [plain_change(change) for change in changes]
        said |= {"outputs": outputs, "protected": bool(stack and stack.protected), "hub": parameters}
        output.print_json(said)
        return
    output.say(DONE.get(done, f"{deploy_context.name} is {done}."))
    if done in DONE:
        return
    output.say(
        f"Next, with credentials of the hub's account {hub.account}. Each names beside this what it names already:"
    )
    words = " ".join(f"--parameter {name}={value}" for name, value in parameters.items())
    output.say_unbroken(f"  lazaretto deploy --stage {deploy_context.stage} --region {hub.region} {words}")
    if deploy_context.account != hub.account and "AccountRoleArns" not in parameters:
        output.say(f"No role was made here ({ACCESS}={NO_ROLE}): the hub can look only by one made in another Region.")


def _of_hub(deploy_context: DeployContext, hub: RegistryPlace, role: str | None) -> dict[str, str]:
    """What the hub's parameters must name for this spoke."""
    if deploy_context.account == hub.account:
        return {"Registries": deploy_context.region}
    roles = {"AccountRoleArns": role} if role else {}
    return {
        "Registries": str(RegistryPlace(deploy_context.region, deploy_context.account)),
        **roles,
        "SpokeAccountIds": deploy_context.account,
    }
