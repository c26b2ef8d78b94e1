"""`lazaretto image`: what stands about one image."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, Region, Registry, Sign, Url
from chalicelib.cli.framework.reference import read_image

Image = Annotated[
    str, typer.Argument(help="REPO@DIGEST, or REPO:TAG (as last heard of by events); REPO with or without the host.")
]


@output.speaking
def image_command(
    image: Image,
    registry: Registry = None,
    region: Region = None,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Show an image: its verdict and why, its scan, its findings counted, what was done, where it runs."""
    query = {"registry": registry, "region": region, **read_image(image)}
    body = Client(url, sign).get("/v1/image", query, needs=("verdict",))
    if as_json:
        output.print_json(body)
    else:
        _print(body)


def print_reasons(verdict: dict[str, Any]) -> None:
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


def _print(body: dict[str, Any]) -> None:
    output.print_table("", ("image", ""), _facts(body), rigid=("image",))
    print_reasons(body["verdict"])
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


def _facts(body: dict[str, Any]) -> list[tuple[object, object]]:
    image, scan, verdict, running = body["image"], body["scan"], body["verdict"], body["running"]
    done, hold, order = body["enforcement"], body["hold"], body["order"]
    return [
        ("registry", f"{image['registry']} {image['region']}"),
        ("repository", image["repository"]),
        ("digest", image["digest"]),
        ("tags", ", ".join(image["tags"])),
        ("exists", "yes" if body["exists"] else "no: deleted, or its push is not known"),
        ("kind", body["kind"]),
        ("pushed", output.when(body["pushed_at"])),
        ("platform", body["platform"] or body["architecture"]),
        ("storage", body["storage"]),
        ("scan", f"{scan['state']} {scan['reason'] or ''}".strip()),
        ("scanned", output.when(scan["scanned_at"])),
        ("scan proof", _proof(body["scan_proof"])),
        ("open findings", _open(body)),
        ("decision", verdict["decision"]),
        ("decided", output.when(verdict["decided_at"])),
        ("enforced", f"{done['kind']} {done['stage']} {output.when(done['at'])}" if done else None),
        ("quarantined", f"by {hold['method']} since {output.when(hold['at'])}" if hold else None),
        ("pulls", "denied for the whole repository, because of it" if body["denied"] else None),
        *(("to be done", _open_act(act)) for act in (body["act"], *body["aside"])),
        ("order", f"{order['kind']} by {order['by']}: {order['reason']}" if order else None),
        ("in use", "; ".join((running["in_use"], *running["by"], *running["blind"]))),
        ("last pulled", output.when(body["last_pulled_at"])),
        *(("the same digest", twin) for twin in body["twins"]),
    ]


def _proof(proof: dict[str, Any] | None) -> str | None:
    """A dash where it is not scanned itself."""
    if proof is None:
        return None
    return "proven" if proof["proven"] else f"{proof['cause']}: {proof['detail']}"


def _open_act(act: dict[str, Any] | None) -> str | None:
    if act is None:
        return None
    held = act["held"]
    how = f" ({act['method']})" if act["method"] else ""
    return f"{act['kind']}{how}: " + (f"held, {held['why']}: {held['detail']}" if held else "on its way")


def _open(body: dict[str, Any]) -> str | None:
    """A dash where they are not known."""
    if body["counts"] is None:
        return "see its images" if body["kind"] == "INDEX" else None
    counts = ", ".join(f"{n} {severity}" for severity, n in body["counts"].items() if n)
    return counts or ("none" if body["scan"]["state"] == "COMPLETE" else "none known")
