"""What people give a command: shared options, names of images and repositories, and policy files.

An option whose help differs from command to command is made by a function.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from chalicelib.adapters.stores.policy_file import MAX_BYTES, read_policy
from chalicelib.cli.framework import output
from chalicelib.domain.images.image import PUBLIC_REGION
from chalicelib.domain.images.names import private_registry
from chalicelib.domain.policy.policy import Policy
from chalicelib.errors import InputError, PolicyError

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_STAGE = "dev"
Url = Annotated[str, typer.Option("--url", envvar="LAZARETTO_URL", help="Address of the API.")]
Sign = Annotated[
    bool | None,
    typer.Option("--sign/--no-sign", help="Sign with the AWS credentials; by default for addresses of API Gateway."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")]
Everything = Annotated[bool, typer.Option("--all", help="All rows, however many.")]
Registry = Annotated[str | None, typer.Option("--registry", help="12-digit account id, or public/ALIAS.")]
Region = Annotated[str | None, typer.Option("--region", help="AWS Region.")]
Profile = Annotated[str | None, typer.Option("--profile", help="Profile of your AWS configuration.")]
RepositoryName = Annotated[str | None, typer.Option("--repository", help="Name, with or without the registry's host.")]
PackageName = Annotated[str | None, typer.Option("--package", help="Package name; * and ? are wildcards.")]
_PUBLIC = "public.ecr.aws"
_PUBLIC_HOSTS = (_PUBLIC, "ecr-public.aws.com")
_MAX = 1024
_DAYS = re.compile(r"([0-9]{1,5})d")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
PolicyFile = Annotated[str, typer.Argument(metavar="FILE", help="A policy file, or - for standard input.")]
OptionalPolicyFile = Annotated[
    str | None, typer.Argument(metavar="[FILE]", help="A policy file, or - for standard input.")
]


def dry_run_option(text: str) -> Any:
    return typer.Option("--dry-run", help=text)


def yes_option(text: str) -> Any:
    return typer.Option("--yes", help=text)


def _stage_option(text: str) -> Any:
    return typer.Option("--stage", envvar="LAZARETTO_STAGE", help=text)


End = Annotated[str | None, typer.Option("--until", help="30d, 2026-12-31 (00:00 UTC), or a time with its offset.")]
DryRun = Annotated[bool, dry_run_option("Say what would be done, and change nothing.")]
Override = Annotated[bool, typer.Option("--override", help="It may end another person's order, which is named.")]
ExpectImages = Annotated[
    int,
    typer.Option("--expect-images", min=0, help="Images you have counted that it releases: so many pass the brake."),
]
Stage = Annotated[str, _stage_option("Stage of the deployment, in the AWS environment's account and Region.")]
StackStage = Annotated[str, _stage_option("Stage: part of every name.")]
"""For commands with options for account and Region."""


def read_end(text: str, now: datetime, option: str) -> str:
    """`30d`, a date (its first moment, UTC) or a time with its offset, as ISO 8601. Raises InputError.

    Days end with the minute: two clocks that differ by a moment must not exceed the policy's maximum.
    """
    try:
        if days := _DAYS.fullmatch(text):
            end = now.replace(second=0, microsecond=0) + timedelta(days=int(days[1]))
        elif _DATE.fullmatch(text):
            end = datetime.combine(date.fromisoformat(text), time(), UTC)
        else:
            end = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InputError(f"{option}: say 30d, a date such as 2026-12-31 or a time, not {text[:60]!r}") from None
    if end.tzinfo is None:
        raise InputError(f"{option}: {text} needs its offset, such as {text}Z")
    return end.isoformat()


def read_repository(text: str) -> dict[str, str]:
    """`repository`, with `registry` and `region` if the text names the registry's host. Raises InputError."""
    host, slash, rest = text.removeprefix("https://").partition("/")
    if len(text) > _MAX or not text:
        raise InputError(f"not a repository: {text[:60]!r}")
    if place := private_registry(host):
        if not rest:
            raise InputError(f"{text}: names no repository")
        if place.account is None:
            raise InputError(f"{host} names no account: write ACCOUNT.dkr.ecr.{place.region}.…")
        return {"registry": place.account, "region": place.region, "repository": rest}
    if host in _PUBLIC_HOSTS:
        alias, _, name = rest.partition("/")
        if not name:
            raise InputError(f"{text}: write {_PUBLIC}/ALIAS/REPOSITORY")
        return {"registry": f"public/{alias}", "region": PUBLIC_REGION, "repository": name}
    if slash and ("." in host or ":" in host or host == "localhost"):
        raise InputError(f"{host} is no registry of Amazon ECR")
    return {"repository": text}


def read_image(text: str) -> dict[str, str]:
    """The same with `digest` or `tag`; of both the digest counts, as for docker. Raises InputError."""
    named, at, digest = text.partition("@")
    name, colon, tag = named.rpartition(":")
    if not colon or "/" in tag:
        name, tag = named, ""
    if at:
        return {**read_repository(name), "digest": digest}
    if not tag:
        raise InputError(f"{text}: say which image: REPO:TAG or REPO@sha256:…")
    return {**read_repository(name), "tag": tag}


class Candidate(NamedTuple):
    text: str
    policy: Policy


def read_candidate(file: str, as_json: bool) -> Candidate:
    """Prints why a file does not load, with its line, and exits with code 2."""
    try:
        raw = read_bytes(file, MAX_BYTES)
        return Candidate(raw.decode(errors="surrogateescape"), read_policy(raw, file))
    except OSError as error:
        refusal = PolicyError("$", f"cannot be read: {error.strerror}", file=file)
    except PolicyError as error:
        refusal = error
    _say_refusal(refusal, as_json)
    raise typer.Exit(output.BAD_INPUT)


def read_bytes(file: str, most: int | None = None) -> bytes:
    """A file, or - for standard input: at most `most` bytes and one more. Raises OSError."""
    size = -1 if most is None else most + 1
    if file == "-":
        return sys.stdin.buffer.read(size)
    with Path(file).open("rb") as opened:
        return opened.read(size)


def _say_refusal(error: PolicyError, as_json: bool) -> None:
    if as_json:
        refusal = {"ok": False, "file": error.file, "line": error.line, "path": error.path, "reason": error.reason}
        typer.echo(json.dumps(refusal))
    else:
        typer.echo("".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error)), err=True)
