"""The spoke: a small stack that forwards the events of an account and Region to the hub, and gives the hub access.

Its template lies beside this file and needs no bucket: an installed Lazaretto can deploy it. The parameters that the
hub needs next are printed: nothing here accesses the hub's account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chalicelib.cli.deploy.deploy_context import DeployContext
from chalicelib.cli.deploy.stack_changes import DONE, apply_changes, out_of_the_way, plain_result
from chalicelib.cli.framework import output
from chalicelib.domain.doctor.parameters import STAGE, choose_parameters
from chalicelib.domain.doctor.stack import StackChange
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import InputError

TEMPLATE = Path(__file__).with_name("spoke.json")
BUS, ACCESS, NO_ROLE = "HubBusArn", "Access", "none"


def deploy_spoke(
    context: DeployContext,
    hub: str | None,
    given: Mapping[str, str],
    tags: Mapping[str, str],
    *,
    protect: bool | None,
    dry_run: bool,
) -> None:
    """`hub`: ACCOUNT/REGION; None: unchanged. Raises InputError, UpstreamError, typer.Abort."""
    stack = out_of_the_way(context, dry_run)
    place = _read_hub(hub) if hub else _hub_of(stack.outputs if stack else {})
    _check(context, place, given)
    template = spoke_template(context.stage)
    bus = f"arn:{context.arn.split(':')[1]}:events:{place.region}:{place.account}:event-bus/default"
    values = choose_parameters(template["Parameters"], stack.parameters if stack else (), {**given, BUS: bus})
    made = context.stacks.make_change_set(context.name, stack, template, values, tags)
    changes, done = apply_changes(context, made, stack, new=stack is None, dry_run=dry_run)
    if protect is not None and not dry_run:
        context.stacks.protect(context.name, protect)
    _print_result(context, place, changes, done)


def spoke_template(stage: str) -> dict[str, Any]:
    """For one stage, which `make package` fixes in the hub's template."""
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


def _check(context: DeployContext, hub: RegistryPlace, given: Mapping[str, str]) -> None:
    if BUS in given:
        raise InputError(f"{BUS} is given by --hub")
    if context.account != hub.account:
        return
    if context.region == hub.region:
        raise InputError(f"{hub} is the hub itself: it receives its own events")
    if given.get(ACCESS, NO_ROLE) != NO_ROLE:
        raise InputError(f"{ACCESS}: in its own account the hub needs no role, only this Region in its Registries")


def _print_result(context: DeployContext, hub: RegistryPlace, changes: Sequence[StackChange], done: str) -> None:
    stack = context.stacks.find(context.name)
    parameters = _hub_parameters(context, hub, stack.outputs.get("RoleArn") if stack else None)
    if context.quiet:
        output.print_json({**plain_result(context, stack, changes, done), "hub": parameters})
        return
    output.say(DONE.get(done, f"{context.name} is {done}."))
    if done in DONE:
        return
    output.say(f"Next, with credentials of the hub's account {hub.account}. Add these values to the present ones:")
    words = " ".join(f"--parameter {name}={value}" for name, value in parameters.items())
    output.say_unbroken(f"  lazaretto deploy --stage {context.stage} --region {hub.region} {words}")
    if context.account != hub.account and "AccountRoleArns" not in parameters:
        output.say(f"No role was created here ({ACCESS}={NO_ROLE}): the hub needs one from another Region.")


def _hub_parameters(context: DeployContext, hub: RegistryPlace, role: str | None) -> dict[str, str]:
    """What the hub's parameters must contain for this spoke."""
    if context.account == hub.account:
        return {"Registries": context.region}
    roles = {"AccountRoleArns": role} if role else {}
    return {
        "Registries": str(RegistryPlace(context.region, context.account)),
        **roles,
        "SpokeAccountIds": context.account,
    }
