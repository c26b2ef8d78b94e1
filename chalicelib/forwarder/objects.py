"""Whom a Kubernetes API server asks about Pods, about which of them, and what happens where it gets no answer.

Plain data; nothing is printed and nothing checked here.

Source: Kubernetes, "Dynamic Admission Control" (admissionregistration.k8s.io/v1); cert-manager, "CA Injector".

The Kubernetes objects of the forwarder, in the order in which they are applied: what runs in a cluster, and whom it
may trust. Plain data; nothing is printed and nothing checked here.

Sources: the API reference of Kubernetes; cert-manager, "Certificate"; Amazon EKS, "EKS Pod Identity". Who asks the
forwarder stands in `webhook_configuration.py`, what it does in `forwarder.py`.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, NamedTuple

from chalicelib import __version__

NAME = "lazaretto-forwarder"
_PORT, _USER = 8443, 65532
_SELF_SIGNED, _CA, _TLS = f"{NAME}-self-signed", f"{NAME}-ca", f"{NAME}-tls"
_SELECTED = {"app.kubernetes.io/name": NAME}
LABELS = {
    **_SELECTED,
    "app.kubernetes.io/part-of": "lazaretto",
    "app.kubernetes.io/version": __version__,
    "app.kubernetes.io/managed-by": "lazaretto",
}

Object = dict[str, Any]


class Forwarding(NamedTuple):
    """`url` and `region`: of the API. `role_arn`: for IAM roles for service accounts; None: EKS Pod Identity."""

    url: str
    region: str
    namespace: str
    image: str
    role_arn: str | None


def forwarder_objects(given: Forwarding) -> list[Object]:
    space = given.namespace
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": space,
                "labels": {**LABELS, "pod-security.kubernetes.io/enforce": "restricted"},
            },
        },
        _service_account(space, given.role_arn),
        _object("v1", "ConfigMap", NAME, space, data={"forwarder.py": forwarder_script()}),
        *_certificates(space),
        _object(
            "v1",
            "Service",
            NAME,
            space,
            spec={"selector": _SELECTED, "ports": [{"name": "https", "port": 443, "targetPort": "https"}]},
        ),
        _object("apps/v1", "Deployment", NAME, space, spec=_deployment(given)),
        _object(
            "policy/v1",
            "PodDisruptionBudget",
            NAME,
            space,
            spec={
                "maxUnavailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": {"matchLabels": _SELECTED},
            },
        ),
    ]


def forwarder_script() -> str:
    return resources.files("chalicelib.forwarder").joinpath("forwarder.py").read_text(encoding="utf-8")


def _service_account(space: str, role_arn: str | None) -> Object:
    account = _object("v1", "ServiceAccount", NAME, space, automountServiceAccountToken=False)
    if role_arn:
        account["metadata"]["annotations"] = {"eks.amazonaws.com/role-arn": role_arn}
    return account


def _certificates(space: str) -> list[Object]:
    """An authority of the namespace's own, and a server certificate by it, renewed two months after it was made.

    One that signs itself would change together with its authority: until each pod has read it, the API server would
    trust the new one and be shown the old.
    """
    group = "cert-manager.io"
    key = {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"}

    def of(issuer: str) -> Object:
        return {"group": group, "kind": "Issuer", "name": issuer}

    authority = {
        "isCA": True,
        "commonName": _CA,
        "secretName": _CA,
        "duration": "87600h",
        "privateKey": key,
        "issuerRef": of(_SELF_SIGNED),
    }
    server = {
        "secretName": _TLS,
        "dnsNames": [f"{NAME}.{space}.svc"],
        "duration": "2160h",
        "renewBefore": "720h",
        "privateKey": key,
        "usages": ["digital signature", "server auth"],
        "issuerRef": of(_CA),
    }
    return [
        _object(f"{group}/v1", "Issuer", _SELF_SIGNED, space, spec={"selfSigned": {}}),
        _object(f"{group}/v1", "Certificate", _CA, space, spec=authority),
        _object(f"{group}/v1", "Issuer", _CA, space, spec={"ca": {"secretName": _CA}}),
        _object(f"{group}/v1", "Certificate", NAME, space, spec=server),
    ]


def _deployment(given: Forwarding) -> Object:
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": _SELECTED},
            "matchLabelKeys": ["pod-template-hash"],
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]
    pod = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "system-cluster-critical",
        "terminationGracePeriodSeconds": 30,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "topologySpreadConstraints": spread,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(given)],
        "volumes": [
            {"name": "script", "configMap": {"name": NAME}},
            {"name": "tls", "secret": {"secretName": _TLS, "defaultMode": 0o440}},
        ],
    }
    # A new script has to start new pods.
    script = {"checksum/forwarder": hashlib.sha256(forwarder_script().encode()).hexdigest()}
    return {
        "replicas": 2,
        "revisionHistoryLimit": 3,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": _SELECTED},
        "template": {"metadata": {"labels": LABELS, "annotations": script}, "spec": pod},
    }


def _container(given: Forwarding) -> Object:
    """The image is made for Lambda: its entry point waits for Lambda, its SDK lies where only that looks by itself."""
    environment = {
        "LAZARETTO_URL": given.url,
        "AWS_DEFAULT_REGION": given.region,
        "AWS_EC2_METADATA_DISABLED": "true",  # never the role of the node
        "PYTHONPATH": "/var/runtime",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/tmp",  # noqa: S108 # nosec B108 - nothing is written there; the image's own home is root's
    }

    def probe(path: str, every: int, **more: int) -> Object:
        asked = {"path": path, "port": "https", "scheme": "HTTPS"}
        return {"httpGet": asked, "periodSeconds": every, "timeoutSeconds": 5, **more}

    return {
        "name": "forwarder",
        "image": given.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/app/forwarder.py"],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"name": "https", "containerPort": _PORT}],
        "startupProbe": probe("/healthz", 2, failureThreshold=30),
        "readinessProbe": probe("/readyz", 10),
        "livenessProbe": probe("/healthz", 10),
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "script", "mountPath": "/app", "readOnly": True},
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
        ],
    }


def _object(version: str, kind: str, name: str, space: str, **content: Any) -> Object:
    metadata = {"name": name, "namespace": space, "labels": LABELS}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


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
