"""`lazaretto image` shows one image; `lazaretto gate` answers by its exit code whether the image may go on."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.errors import NotFoundError

Image = Annotated[
    str, typer.Argument(help="REPO@DIGEST, or REPO:TAG (as of the last event); REPO with or without the host.")
]
OPEN = ("ALLOW", "WARN")


@with_api
def image_command(api: RestApi, image: Image, registry: o.Registry = None, region: o.Region = None) -> None:
    """Show an image: its verdict and why, its scan, its findings counted, what was done, where it runs."""
    query = {"registry": registry, "region": region, **o.read_image(image)}
    api.print(api.client.get("/v1/image", query, needs=("verdict",)), _print_image)


def _print_reasons(verdict: dict[str, Any]) -> None:
    if verdict["reasons"]:
        output.print_table(
            "reasons",
            ("rule", "decision", "findings", "why"),
            map(_reason, verdict["reasons"]),
            rigid=("decision", "findings"),
        )


def _reason(reason: dict[str, Any]) -> tuple[object, ...]:
    why = [reason["detail"], ", ".join(reason["vulnerability_ids"])]
    why += [f"waived: {', '.join(reason['waived'])}"] if reason["waived"] else []
    return (reason["rule"], reason["decision"], reason["count"] or None, "; ".join(w for w in why if w))


def _print_image(body: dict[str, Any]) -> None:
    output.print_table("", ("image", ""), _facts(body), rigid=("image",))
    _print_reasons(body["verdict"])
    if children := [c for c in body["children"] if not c["artifact"]]:
        output.say("images of this index")
        for child in children:
            output.say(
                "", output.cell(child["platform"]), output.cell(child["decision"]), f"scan {child['scan_state']}"
            )
            output.say(" ", child["digest"])
        output.say()
    if body["actions"]:
        rows = ((output.when(a["at"]), a["kind"], a["actor"], a["reason"]) for a in body["actions"])
        output.print_table("actions", ("at", "kind", "actor", "reason"), rows, rigid=("at", "kind"))


def _exists(exists: bool, retired_at: str | None) -> str:
    if exists:
        return "yes"
    gone = "deleted, or its push is not known"
    return f"no: {gone if retired_at is None else f'its registry was retired at {output.when(retired_at)}'}"


def _facts(body: dict[str, Any]) -> list[tuple[object, object]]:
    image, scan, verdict, running = body["image"], body["scan"], body["verdict"], body["running"]
    done, hold, order = body["enforcement"], body["hold"], body["order"]
    return [
        ("registry", f"{image['registry']} {image['region']}"),
        ("repository", image["repository"]),
        ("digest", image["digest"]),
        ("tags", ", ".join(image["tags"])),
        ("exists", _exists(body["exists"], body["retired_at"])),
        ("kind", body["kind"] if body["kind_read"] else f"{body['kind']} by its media type: its manifest was not read"),
        ("pushed", output.when(body["pushed_at"])),
        ("platform", body["platform"] or body["architecture"]),
        ("signed", {True: "a signature refers to it; not verified", False: "no"}.get(body["signed"])),
        ("storage", body["storage"]),
        ("scan", f"{scan['state']} {scan['reason'] or ''}".strip()),
        ("scanned", output.when(scan["scanned_at"])),
        ("scan proof", _proof(body["scan_proof"])),
        ("open findings", _open(body)),
        ("decision", verdict["decision"]),
        ("decided", _decided(verdict)),
        ("enforced", f"{done['kind']} {done['stage']} {output.when(done['at'])}" if done else None),
        ("quarantined", f"by {hold['method']} since {output.when(hold['at'])}" if hold else None),
        ("pulls", "denied for the whole repository, because of it" if body["denied"] else None),
        *(("to be done", _open_act(act)) for act in (body["act"], *body["aside"])),
        ("order", f"{order['kind']} by {order['by']}: {order['reason']}" if order else None),
        ("until", output.when(order["until"]) if order else None),
        ("in use", "; ".join((running["in_use"], *running["by"], *running["blind"]))),
        ("last pulled", output.when(body["last_pulled_at"])),
        *(("the same digest", path) for path in body["twins"]),
        ("ETag", body["etag"]),
    ]


def _decided(verdict: dict[str, Any]) -> str | None:
    at = output.when(verdict["decided_at"])
    return f"{at}, by policy {verdict['policy_version']}" if at and verdict["policy_version"] else at


def _proof(proof: dict[str, Any] | None) -> str | None:
    """None for an image that is not scanned itself."""
    if proof is None:
        return None
    return "proven" if proof["proven"] else f"{proof['cause']}: {proof['detail']}"


def _open_act(act: dict[str, Any] | None) -> str | None:
    if act is None:
        return None
    held = act["held"]
    how = f" ({act['method']})" if act["method"] else ""
    if held is None:
        return f"{act['kind']}{how}: on its way"
    again = f"; tried again after {output.when(held['until'])}" if held["until"] else ""
    return f"{act['kind']}{how}: held, {held['why']}: {held['detail']}{again}"


def _open(body: dict[str, Any]) -> str | None:
    """None where the findings are unknown."""
    if body["counts"] is None:
        return "see its images" if body["kind"] == "INDEX" else None
    counts = ", ".join(f"{n} {severity}" for severity, n in body["counts"].items() if n)
    return counts or ("none" if body["scan"]["state"] == "COMPLETE" else "none known")


@with_api
def gate_command(api: RestApi, image: Image, registry: o.Registry = None, region: o.Region = None) -> None:
    """Ask for the verdict: exit 0 for ALLOW and WARN, 1 for BLOCK, QUARANTINE, PENDING and unknown images.

    2 is bad input, a registry or repository that is unknown included, 3 a failure of AWS or the network: only 0 opens
    the gate. A tag is the digest of the last event, and may lag behind the registry: in CI give the digest that was
    pushed, with the registry's host (ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPO@sha256:...).
    """
    query = {"registry": registry, "region": region, **o.read_image(image)}
    try:
        verdict = api.client.get("/v1/verdict", query, needs=("decision",))
    except NotFoundError as error:
        _print_unknown(image, str(error), api.as_json)
        raise typer.Exit(output.NEGATIVE) from error
    api.print(verdict, _print_verdict)
    raise typer.Exit(output.OK if verdict["decision"] in OPEN else output.NEGATIVE)


def _print_unknown(image: str, detail: str, as_json: bool) -> None:
    if as_json:
        output.print_json({"image": image, "decision": None, "detail": detail})
    else:
        output.say(output.cell("UNKNOWN", "bold red"), detail)


def _print_verdict(verdict: dict[str, Any]) -> None:
    scan = verdict["scan"]
    image = verdict["image"]
    output.say(output.cell(verdict["decision"]), output.home(image))
    output.say(image["digest"], *(f"({tag})" for tag in image["tags"][:3]))
    output.say(
        f"policy {verdict['policy_version']}, decided {output.when(verdict['decided_at']) or '-'}, scan {scan['state']}"
    )
    _print_reasons(verdict)
