"""`lazaretto gate`: may this image go on? The exit code is the answer."""

from __future__ import annotations

from typing import Any

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, Region, Registry, Sign, Url
from chalicelib.cli.framework.reference import read_image
from chalicelib.cli.image import Image, print_reasons
from chalicelib.errors import NotFoundError

OPEN = ("ALLOW", "WARN")


@output.speaking
def gate_command(
    image: Image,
    registry: Registry = None,
    region: Region = None,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Ask for the verdict: exit 0 for ALLOW and WARN, 1 for BLOCK, QUARANTINE, PENDING and unknown images.

    2 is bad input, 3 a failure of AWS or the network: only 0 opens the gate. A tag is the digest that events last told
    of, which may lag behind the registry: in CI give the digest that was pushed, with the registry's host
    (ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPO@sha256:...).
    """
    query = {"registry": registry, "region": region, **read_image(image)}
    try:
        verdict = Client(url, sign).get("/v1/verdict", query, needs=("decision",))
    except NotFoundError as error:
        _say_unknown(image, str(error), as_json)
        raise typer.Exit(output.NEGATIVE) from error
    if as_json:
        output.print_json(verdict)
    else:
        _print(verdict)
    raise typer.Exit(output.OK if verdict["decision"] in OPEN else output.NEGATIVE)


def _say_unknown(image: str, detail: str, as_json: bool) -> None:
    if as_json:
        output.print_json({"image": image, "decision": None, "detail": detail})
    else:
        output.say(output.cell("UNKNOWN", "bold red"), detail)


def _print(verdict: dict[str, Any]) -> None:
    scan = verdict["scan"]
    image = verdict["image"]
    output.say(output.cell(verdict["decision"]), output.home(image))
    output.say(image["digest"], *(f"({tag})" for tag in image["tags"][:3]))
    output.say(
        f"policy {verdict['policy_version']}, decided {output.when(verdict['decided_at']) or '-'}, scan {scan['state']}"
    )
    print_reasons(verdict)
