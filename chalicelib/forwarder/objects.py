"""The Kubernetes objects of the forwarder and of the API server, filled in; nothing is printed or checked here.

They stand in `objects.yaml` and `webhook.yaml`, and what a person must do beside them in text files. Source:
cert-manager, "CA Injector".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from string import Template
from typing import Any, NamedTuple

import yaml

from chalicelib import __version__

NAME = "lazaretto-forwarder"
LABELS = {
    "app.kubernetes.io/name": NAME,
    "app.kubernetes.io/part-of": "lazaretto",
    "app.kubernetes.io/version": __version__,
    "app.kubernetes.io/managed-by": "lazaretto",
}
OF_THE_CLUSTER = ("Namespace", "ClusterRole", "ClusterRoleBinding")
ALWAYS_EXEMPT = "kube-system"
FORWARDER_NEEDS = "cert-manager"
"""Both are exempt where there is a forwarder: the cluster needs the first to start, the second issues the forwarder's
certificate, and they could wait for each other. Without a forwarder the second is not exempt: its creator could fill
it."""

Object = dict[str, Any]


class Forwarding(NamedTuple):
    """`url` and `region`: of the API. `role_arn`: for IAM roles for service accounts; None: EKS Pod Identity."""

    url: str
    region: str
    namespace: str
    image: str
    role_arn: str | None


class AdmissionWebhook(NamedTuple):
    """`client`: whom the API server calls. `fail_closed`: no Pod without an answer."""

    name: str
    client: Object
    exempt: tuple[str, ...]
    fail_closed: bool
    annotations: dict[str, str]


def forwarder_objects(given: Forwarding) -> list[Object]:
    script = forwarder_script()
    values = {**given._asdict(), "checksum": hashlib.sha256(script.encode()).hexdigest()}
    objects = _filled_file("objects.yaml", values)
    for plain in objects:
        metadata = plain["metadata"]
        space = {} if plain["kind"] in OF_THE_CLUSTER else {"namespace": given.namespace}
        plain["metadata"] = {"name": metadata["name"], **space, "labels": {**LABELS, **metadata.get("labels", {})}}
    by_kind = {plain["kind"]: plain for plain in objects}
    by_kind["ConfigMap"]["data"] = {"forwarder.py": script}
    by_kind["Deployment"]["spec"]["template"]["metadata"]["labels"] = LABELS
    if given.role_arn:
        by_kind["ServiceAccount"]["metadata"]["annotations"] = {"eks.amazonaws.com/role-arn": given.role_arn}
    return objects


def forwarder_script() -> str:
    return _resource("forwarder.py")


def through_forwarder(namespace: str, exempt: tuple[str, ...], fail_closed: bool) -> Object:
    client = {"service": {"namespace": namespace, "name": NAME, "port": 443, "path": "/v1/admission"}}
    injected = {"cert-manager.io/inject-ca-from": f"{namespace}/{NAME}"}
    exempt = (*exempt, namespace, FORWARDER_NEEDS)
    return webhook_configuration(AdmissionWebhook(namespace, client, exempt, fail_closed, injected))


def webhook_configuration(given: AdmissionWebhook) -> Object:
    values = {"name": given.name, "failure_policy": "Fail" if given.fail_closed else "Ignore"}
    (configuration,) = _filled_file("webhook.yaml", values)
    configuration["metadata"]["labels"] = {**LABELS, "app.kubernetes.io/name": "lazaretto-webhook"}
    if given.annotations:
        configuration["metadata"]["annotations"] = given.annotations
    spaces = sorted({ALWAYS_EXEMPT, *given.exempt})
    not_exempt = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": spaces}
    for webhook in configuration["webhooks"]:
        webhook["clientConfig"] = given.client
        webhook["namespaceSelector"] = {"matchExpressions": [not_exempt]}
    return configuration


def note(name: str, **values: str) -> list[str]:
    """The lines of a text of this package, with the values for `${…}`."""
    return Template(_resource(name)).substitute(values).splitlines()


def _resource(name: str) -> str:
    return resources.files("chalicelib.forwarder").joinpath(name).read_text(encoding="utf-8")


def _filled_file(name: str, values: Mapping[str, str | None]) -> list[Object]:
    """With the values for `${…}`. They are filled in after parsing, so that none can be read as YAML."""
    return [_filled(plain, values) for plain in yaml.safe_load_all(_resource(name))]


def _filled(plain: Any, values: Mapping[str, str | None]) -> Any:
    if isinstance(plain, dict):
        return {name: _filled(value, values) for name, value in plain.items()}
    if isinstance(plain, list):
        return [_filled(value, values) for value in plain]
    return Template(plain).substitute(values) if isinstance(plain, str) else plain
