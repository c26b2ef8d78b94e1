"""`lazaretto webhook`: prints the Kubernetes objects of the admission webhook, and makes tokens. Nothing is applied.

The objects themselves are in `forwarder/objects.py`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import typer
import yaml

from chalicelib import __version__
from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import gateway_region
from chalicelib.errors import InputError
from chalicelib.forwarder.objects import (
    NAME,
    AdmissionWebhook,
    Forwarding,
    Object,
    forwarder_objects,
    note,
    through_forwarder,
    webhook_configuration,
)

_IGNORES_FAILURE = ["Where Lazaretto does not answer, Pods start unasked (failurePolicy: Ignore)."]
_FLOODED = [
    "A flood of requests without a token can cause that: use --fail-closed, and name the addresses",
    "of the control planes by the parameter AdmissionTokenSources.",
]
_FAILS = [
    "Where Lazaretto does not answer, no Pod starts (failurePolicy: Fail). Apply it without",
    "--fail-closed first, and see that it answers.",
]
DEFAULT_IMAGE = "public.ecr.aws/lambda/python:3.13"
TOKEN_BYTES = 32
_URL = re.compile(r"https://[A-Za-z0-9.-]+(?::\d{1,5})?(?:/[A-Za-z0-9._~-]+)*/?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)
_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-\d")
_IMAGE = re.compile(r"[a-z0-9][\w.:/@-]{0,400}", re.ASCII)

webhook_app = typer.Typer(no_args_is_help=True, help="Have a Kubernetes cluster ask before it starts a Pod.")


class WebhookManifest(NamedTuple):
    """`comment`: its lines, on top."""

    comment: Sequence[str]
    objects: Sequence[Object]


@webhook_app.command("manifest")
@output.speaking
def manifest_command(
    url: o.Url = o.DEFAULT_URL,
    namespace: Annotated[str, typer.Option("--namespace", help="Namespace of the forwarder.")] = "lazaretto",
    exempt: Annotated[
        list[str] | None,
        typer.Option("--exempt", metavar="NAMESPACE", help="Not asked about, as kube-system (repeatable)."),
    ] = None,
    fail_closed: Annotated[
        bool, typer.Option("--fail-closed", help="No Pod without an answer; by default it starts all the same.")
    ] = False,
    role_arn: Annotated[
        str | None,
        typer.Option("--role-arn", help="Role for the service account (IRSA); by default EKS Pod Identity gives one."),
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", help=f"With Python and botocore; by default {DEFAULT_IMAGE}.")
    ] = None,
    region: o.Region = None,
    self_managed: Annotated[
        bool,
        typer.Option("--self-managed", help="For a control plane of your own: it sends a token, without forwarder."),
    ] = False,
    as_json: o.AsJson = False,
) -> None:
    """Print the Kubernetes objects of the admission webhook, to be piped to `kubectl apply -f -`.

    On EKS these are a small forwarder, which signs each request with its pod's role, and the configuration that has
    the API server call it; cert-manager must be installed. With --self-managed it is the configuration alone, and in a
    comment the files that give your API server its token. What is asked, and what happens without an answer:
    docs/admission.md.
    """
    host, address = _address(url)
    exempted = tuple(_matching("--exempt", _NAMESPACE, one) for one in exempt or ())
    if self_managed:
        if role_arn or image or region:
            raise InputError("--self-managed has no forwarder: leave out --role-arn, --image and --region")
        manifest = _by_token(host, address, _matching("--namespace", _NAMESPACE, namespace), exempted, fail_closed)
    else:
        given = Forwarding(
            address,
            _region_of(address, region),
            _matching("--namespace", _NAMESPACE, namespace),
            _matching("--image", _IMAGE, image or DEFAULT_IMAGE),
            _matching("--role-arn", _ROLE, role_arn) if role_arn else None,
        )
        manifest = _by_forwarder(given, exempted, fail_closed)
    if as_json:
        output.print_json({"apiVersion": "v1", "kind": "List", "items": manifest.objects})
    else:
        typer.echo(_text(manifest), nl=False)


@webhook_app.command("token")
def token_command(as_json: o.AsJson = False) -> None:
    """Make a token for self-managed control planes, and print it with its SHA-256.

    It is shown once and not stored: the deployment gets only the hash.
    """
    token = secrets.token_urlsafe(TOKEN_BYTES)
    hashed = hashlib.sha256(token.encode()).hexdigest()
    if as_json:
        output.print_json({"token": token, "sha256": hashed})
        return
    output.say_unbroken(f"token    {token}")
    output.say_unbroken(f"sha256   {hashed}")
    typer.echo(f"""
Deploy with its hash; where a token is in use already, with both, the new one first:
  lazaretto deploy --stage STAGE --parameter AdmissionTokenHashes={hashed}
  lazaretto deploy --stage STAGE --parameter AdmissionTokenHashes=NEW,OLD
and with the address ranges of your control planes: --parameter AdmissionTokenSources=CIDR,CIDR
Then give the token to every API server, in the kubeconfig that `lazaretto webhook manifest
--self-managed` shows (--url: the stack's output AdmissionTokenURL), and restart it. When all
have it, deploy with the new hash alone.""")


def _address(url: str) -> tuple[str, str]:
    """Host with its port, if any, and the address of the API without a trailing slash."""
    if not _URL.fullmatch(url):
        raise InputError("--url: the address of a deployed API is needed, such as https://….amazonaws.com/api")
    return urlsplit(url).netloc, url.rstrip("/")


def _region_of(address: str, named: str | None) -> str:
    region = named or gateway_region(urlsplit(address).hostname or "")
    if not region:
        raise InputError("--region: the address does not name the Region of the API")
    return _matching("--region", _REGION, region)


def _matching(option: str, form: re.Pattern[str], text: str) -> str:
    if not form.fullmatch(text):
        raise InputError(f"{option}: {text!r} cannot be that")
    return text


def _by_forwarder(given: Forwarding, exempt: tuple[str, ...], fail_closed: bool) -> WebhookManifest:
    space = given.namespace
    role = (
        "\n   aws eks create-pod-identity-association --cluster-name CLUSTER \\"
        f"\n     --namespace {space} --service-account {NAME} --role-arn ROLE_ARN"
    )
    if given.role_arn:
        role = f" {given.role_arn},\n   which must trust system:serviceaccount:{space}:{NAME}."
    words = [*note("cluster.txt", namespace=space, role=role), *(_FAILS if fail_closed else _IGNORES_FAILURE)]
    return WebhookManifest(words, [*forwarder_objects(given), through_forwarder(space, exempt, fail_closed)])


def _by_token(host: str, address: str, name: str, exempt: tuple[str, ...], fail_closed: bool) -> WebhookManifest:
    words = [*note("control_plane.txt", host=host), *(_FAILS if fail_closed else [*_IGNORES_FAILURE, *_FLOODED])]
    client = {"url": f"{address}/v1/admission/token"}
    return WebhookManifest(words, [webhook_configuration(AdmissionWebhook(name, client, exempt, fail_closed, {}))])


def _text(manifest: WebhookManifest) -> str:
    head = [f"Lazaretto {__version__}: admission webhook. Apply with `kubectl apply -f -`.", *manifest.comment]
    comment = "".join(f"# {line}".rstrip() + "\n" for line in head)
    form: dict[str, Any] = {"Dumper": _Dumper, "sort_keys": False, "width": 96, "allow_unicode": True}
    return comment + "".join(f"---\n{yaml.dump(plain, **form)}" for plain in manifest.objects)


class _Dumper(yaml.SafeDumper):
    """Readable YAML: no anchors, texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> yaml.Node:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.text)
