"""The Kubernetes objects of the forwarder (`objects.yaml`), and the webhook configuration of the API server.

Plain data; nothing is printed and nothing checked here. Source: Kubernetes, "Dynamic Admission Control"
(admissionregistration.k8s.io/v1); cert-manager, "CA Injector".
"""

from __future__ import annotations

import hashlib
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
ALWAYS_EXEMPT = "kube-system"
FORWARDER_NEEDS = "cert-manager"
"""Both are exempt where there is a forwarder: the cluster needs the first to start, the second issues the forwarder's
certificate, and they could wait for each other. Without a forwarder the second is not exempt: its creator could fill
it."""
WEBHOOK_SECONDS = 10
_NEW_SPECIFICATION = {
    "name": "may-name-another-image",
    "expression": 'request.operation == "CREATE" || object.spec != oldObject.spec',
}
_WITHOUT_CONTROLLER = {"name": "made-by-no-controller", "expression": "!has(object.metadata.ownerReferences)"}

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
    objects = [_filled(plain, values) for plain in yaml.safe_load_all(_resource("objects.yaml"))]
    for plain in objects:
        metadata = plain["metadata"]
        space = {} if plain["kind"] == "Namespace" else {"namespace": given.namespace}
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
    """Two webhooks: `pods` refuses Pods, `workloads` tells the author of a workload what its Pods would be refused for.

    A failure never blocks a workload: its Pods are checked anyway. What a controller creates is not checked again, nor
    an update that leaves the specification as it is.
    """
    workloads = [
        _rule("apps", "deployments", "statefulsets", "daemonsets", "replicasets"),
        _rule("batch", "jobs", "cronjobs"),
        _rule("", "replicationcontrollers"),
    ]
    pods = [_rule("", "pods", "pods/ephemeralcontainers")]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": given.name,
            "labels": {**LABELS, "app.kubernetes.io/name": "lazaretto-webhook"},
            **({"annotations": given.annotations} if given.annotations else {}),
        },
        "webhooks": [
            _webhook(given, "pods", "Fail" if given.fail_closed else "Ignore", pods, [_NEW_SPECIFICATION]),
            _webhook(given, "workloads", "Ignore", workloads, [_WITHOUT_CONTROLLER, _NEW_SPECIFICATION]),
        ],
    }


def admission_configuration(host: str) -> tuple[Object, Object]:
    """The file that `--admission-control-config-file` names, and the kubeconfig that it names, whose user has the name
    of the host."""
    plugin = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "WebhookAdmissionConfiguration",
        "kubeConfigFile": "/etc/kubernetes/lazaretto.kubeconfig",
    }
    configuration = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "ValidatingAdmissionWebhook", "configuration": plugin}],
    }
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "users": [{"name": host, "user": {"token": "TOKEN"}}]}
    return configuration, kubeconfig


def _resource(name: str) -> str:
    return resources.files("chalicelib.forwarder").joinpath(name).read_text(encoding="utf-8")


def _filled(plain: Any, values: dict[str, str | None]) -> Any:
    """With the values for `${…}`. They are filled in after parsing, so that none can be read as YAML."""
    if isinstance(plain, dict):
        return {name: _filled(value, values) for name, value in plain.items()}
    if isinstance(plain, list):
        return [_filled(value, values) for value in plain]
    return Template(plain).substitute(values) if isinstance(plain, str) else plain


def _webhook(
    given: AdmissionWebhook, name: str, failure_policy: str, rules: list[Object], conditions: list[Object]
) -> Object:
    spaces = sorted({ALWAYS_EXEMPT, *given.exempt})
    not_exempt = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": spaces}
    return {
        "name": f"{name}.admission.lazaretto",
        "clientConfig": given.client,
        "rules": rules,
        "namespaceSelector": {"matchExpressions": [not_exempt]},
        "matchConditions": conditions,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": WEBHOOK_SECONDS,
        "failurePolicy": failure_policy,
    }


def _rule(group: str, *names: str) -> Object:
    what = {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"]}
    return {**what, "resources": list(names), "scope": "Namespaced"}
