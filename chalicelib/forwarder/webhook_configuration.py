"""Whom a Kubernetes API server asks about Pods, about which of them, and what happens where it gets no answer.

Plain data; nothing is printed and nothing checked here.

Source: Kubernetes, "Dynamic Admission Control" (admissionregistration.k8s.io/v1); cert-manager, "CA Injector".
"""

from __future__ import annotations

from typing import NamedTuple

from chalicelib.forwarder.forwarder_objects import LABELS, NAME, Object

ALWAYS_EXEMPT = "kube-system"
FORWARDER_NEEDS = "cert-manager"
"""What the cluster needs to start, and who issues the forwarder's certificate: asked about, they and the forwarder
could wait for each other for ever. Without a forwarder the second is not exempt: whoever may make it could fill it."""
WEBHOOK_SECONDS = 10
_ASKED = 'request.operation == "CREATE" || object.spec != oldObject.spec'


class Asking(NamedTuple):
    """Whom the API server asks, and about which namespaces. `fail_closed`: no Pod without an answer."""

    name: str
    client: Object
    exempt: tuple[str, ...]
    fail_closed: bool
    annotations: dict[str, str]


def through_forwarder(namespace: str, exempt: tuple[str, ...], fail_closed: bool) -> Object:
    client = {"service": {"namespace": namespace, "name": NAME, "port": 443, "path": "/v1/admission"}}
    injected = {"cert-manager.io/inject-ca-from": f"{namespace}/{NAME}"}
    return webhook_configuration(
        Asking(namespace, client, (*exempt, namespace, FORWARDER_NEEDS), fail_closed, injected)
    )


def webhook_configuration(asking: Asking) -> Object:
    """Two webhooks: `pods` keeps out, `workloads` tells whoever applies one what its Pods would be told later.

    A workload is never held up by our failing: what it makes are Pods, and they are asked about. What a controller has
    made is not asked about again, nor what leaves the specification as it is.
    """
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": asking.name,
            "labels": {**LABELS, "app.kubernetes.io/name": "lazaretto-webhook"},
            **({"annotations": asking.annotations} if asking.annotations else {}),
        },
        "webhooks": [
            _webhook(
                asking,
                "pods",
                "Fail" if asking.fail_closed else "Ignore",
                [_rule("", "pods", "pods/ephemeralcontainers")],
                [{"name": "may-name-another-image", "expression": _ASKED}],
            ),
            _webhook(
                asking,
                "workloads",
                "Ignore",
                [
                    _rule("apps", "deployments", "statefulsets", "daemonsets", "replicasets"),
                    _rule("batch", "jobs", "cronjobs"),
                    _rule("", "replicationcontrollers"),
                ],
                [
                    {"name": "made-by-no-controller", "expression": "!has(object.metadata.ownerReferences)"},
                    {"name": "may-name-another-image", "expression": _ASKED},
                ],
            ),
        ],
    }


def admission_configuration(host: str) -> tuple[Object, Object]:
    """The file that `--admission-control-config-file` names, and the kubeconfig that it names in turn: a user called as
    the host is who asks there."""
    configuration = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [
            {
                "name": "ValidatingAdmissionWebhook",
                "configuration": {
                    "apiVersion": "apiserver.config.k8s.io/v1",
                    "kind": "WebhookAdmissionConfiguration",
                    "kubeConfigFile": "/etc/kubernetes/lazaretto.kubeconfig",
                },
            }
        ],
    }
    kubeconfig = {"apiVersion": "v1", "kind": "Config", "users": [{"name": host, "user": {"token": "TOKEN"}}]}
    return configuration, kubeconfig


def _webhook(asking: Asking, name: str, failure_policy: str, rules: list[Object], conditions: list[Object]) -> Object:
    key = "kubernetes.io/metadata.name"
    spaces = sorted({ALWAYS_EXEMPT, *asking.exempt})
    return {
        "name": f"{name}.admission.lazaretto",
        "clientConfig": asking.client,
        "rules": rules,
        "namespaceSelector": {"matchExpressions": [{"key": key, "operator": "NotIn", "values": spaces}]},
        "matchConditions": conditions,
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": WEBHOOK_SECONDS,
        "failurePolicy": failure_policy,
    }


def _rule(group: str, *names: str) -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": list(names),
        "scope": "Namespaced",
    }
