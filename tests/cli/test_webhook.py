"""`lazaretto webhook`: what is printed is whole, refers to itself, and is what a cluster's reviewers ask for."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from chalicelib.cli import app
from chalicelib.cli.webhook import DEFAULT_IMAGE
from chalicelib.domain.admission import judgement
from chalicelib.domain.doctor.parameters import choose_parameters
from chalicelib.errors import ParameterError
from chalicelib.forwarder import forwarder
from tests.fakes.packaged import merged

URL = "https://abc123.execute-api.eu-west-1.amazonaws.com/api"
ROLE = "arn:aws:iam::111122223333:role/cluster/lazaretto-forwarder"
Objects = dict[tuple[str, str], dict[str, Any]]


@cache
def printed(*options: str, url: str = URL) -> str:
    result = CliRunner().invoke(app, ["webhook", "manifest", "--url", url, *options])
    assert result.exit_code == 0, result.output
    return result.stdout


@cache
def objects(*options: str) -> Objects:
    """By kind and name; no two are the same."""
    found = list(yaml.safe_load_all(printed(*options)))
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(by_name) == len(found)
    return by_name


def only(kind: str, *options: str) -> dict[str, Any]:
    (found,) = (one for (of, _), one in objects(*options).items() if of == kind)
    return found


def comment(*options: str) -> str:
    return "\n".join(line[2:] for line in printed(*options).splitlines() if line.startswith("#"))


def deployed(*options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Deployment's pods, and their one container."""
    pod = only("Deployment", *options)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def test_a_namespace_comes_before_what_lies_in_it_and_the_questions_come_last() -> None:
    kinds = [kind for kind, _ in objects()]
    assert kinds[0] == "Namespace"
    assert kinds[-1] == "ValidatingWebhookConfiguration"
    assert set(kinds) == {
        "Namespace",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "Issuer",
        "Certificate",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
        "ValidatingWebhookConfiguration",
    }


@pytest.mark.parametrize("namespace", ["lazaretto", "platform-security"])
def test_everything_lies_in_the_one_namespace(namespace: str) -> None:
    for (kind, name), one in objects("--namespace", namespace).items():
        if kind == "Namespace":
            assert name == namespace
        elif kind in ("ValidatingWebhookConfiguration", "ClusterRole", "ClusterRoleBinding"):
            assert name.startswith(namespace) or kind == "ValidatingWebhookConfiguration"
            assert "namespace" not in one["metadata"]
        else:
            assert one["metadata"]["namespace"] == namespace
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "lazaretto"


def test_names_and_labels_are_ones_that_kubernetes_takes() -> None:
    for (_, name), one in objects().items():
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        for value in one["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


def test_the_script_is_the_file_and_a_new_one_starts_new_pods() -> None:
    text = Path(forwarder.__file__).read_text()
    assert only("ConfigMap")["data"] == {"forwarder.py": text}
    template = only("Deployment")["spec"]["template"]
    hashed = hashlib.sha256(text.encode()).hexdigest()
    assert template["metadata"]["annotations"] == {"checksum/forwarder": hashed}


def test_the_script_can_be_read_in_what_is_printed() -> None:
    assert '\n  forwarder.py: |\n    """The forwarder' in printed()
    assert "&id" not in printed(), "no anchors"


def test_the_service_leads_to_the_pods_and_the_budget_guards_them() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    (port,) = only("Service")["spec"]["ports"]
    _, container = deployed()
    assert only("Service")["spec"]["selector"].items() <= labels
    assert only("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels
    assert only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels
    assert {"name": port["targetPort"], "containerPort": 8443} in container["ports"]
    assert port["port"] == 443
    assert only("PodDisruptionBudget")["spec"]["maxUnavailable"] < only("Deployment")["spec"]["replicas"]


def test_the_pods_lie_apart() -> None:
    pod, _ = deployed()
    keys = {one["topologyKey"] for one in pod["topologySpreadConstraints"]}
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert all(one["labelSelector"]["matchLabels"].items() <= labels for one in pod["topologySpreadConstraints"])


def test_a_pod_may_do_nothing_that_it_does_not_need() -> None:
    """What the level `restricted` of Pod Security asks for, which the namespace enforces, and more."""
    pod, container = deployed()
    assert only("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert only("ClusterRole")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
    ]
    (subject,) = only("ClusterRoleBinding")["subjects"]
    assert objects()[subject["kind"], subject["name"]]["metadata"]["namespace"] == subject["namespace"]
    assert only("ClusterRoleBinding")["roleRef"]["name"] == only("ClusterRole")["metadata"]["name"]
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} == {"configMap", "secret"}
    assert all(mount["readOnly"] for mount in container["volumeMounts"])


def test_what_is_mounted_is_there_and_is_what_the_script_reads() -> None:
    pod, container = deployed()
    found = objects()
    paths = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sources = {volume["name"]: volume for volume in pod["volumes"]}
    assert paths.keys() == sources.keys()
    assert ("ConfigMap", sources["script"]["configMap"]["name"]) in found
    secrets = {one["spec"]["secretName"] for (kind, _), one in found.items() if kind == "Certificate"}
    assert sources["tls"]["secret"]["secretName"] in secrets
    assert sources["tls"]["secret"]["defaultMode"] == 0o440, "of the group that fsGroup makes the pod a member of"
    assert container["command"] == ["python3", f"{paths['script']}/forwarder.py"]
    read = {n.value for n in ast.walk(ast.parse(Path(forwarder.__file__).read_text())) if isinstance(n, ast.Constant)}
    assert paths["tls"] in read
    assert ("ServiceAccount", pod["serviceAccountName"]) in found


def test_the_process_finds_its_api_its_region_and_the_sdk_of_the_image() -> None:
    _, container = deployed()
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "LAZARETTO_URL": URL,
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": "/var/runtime",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/tmp",
    }
    assert container["image"] == DEFAULT_IMAGE


def test_probes_ask_what_the_script_answers() -> None:
    _, container = deployed()
    for name, path in (("startup", "/healthz"), ("liveness", "/healthz"), ("readiness", "/readyz")):
        asked = container[f"{name}Probe"]["httpGet"]
        assert (asked["path"], asked["scheme"], asked["port"]) == (path, "HTTPS", "https")
        assert f'"{path}"' in Path(forwarder.__file__).read_text()
    assert container["livenessProbe"]["periodSeconds"] > 1


def test_memory_suffices_for_what_the_script_may_hold() -> None:
    """As many small reviews as may be under way, and a large one that is nothing but lists: 33 times its bytes."""
    _, container = deployed()
    limit = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 1024**3
    assert limit > forwarder.REVIEWS_AT_ONCE * forwarder.LARGE_BYTES + 40 * forwarder.MAX_BYTES


def test_the_pod_ends_before_it_is_killed() -> None:
    pod, _ = deployed()
    assert pod["terminationGracePeriodSeconds"] > forwarder.DRAIN_SECONDS + 10


@pytest.mark.parametrize("namespace", ["lazaretto", "other"])
def test_the_certificate_is_for_the_name_that_the_api_server_asks_for(namespace: str) -> None:
    found = objects("--namespace", namespace)
    for webhook in only("ValidatingWebhookConfiguration", "--namespace", namespace)["webhooks"]:
        service = webhook["clientConfig"]["service"]
        assert ("Service", service["name"]) in found
        assert service["path"] == forwarder.PATH
        server = found["Certificate", service["name"]]
        assert f"{service['name']}.{service['namespace']}.svc" in server["spec"]["dnsNames"]


def test_the_authority_that_is_trusted_signs_the_certificate_that_is_shown() -> None:
    found = objects()
    annotations = only("ValidatingWebhookConfiguration")["metadata"]["annotations"]
    space, _, name = annotations["cert-manager.io/inject-ca-from"].partition("/")
    server = found["Certificate", name]
    assert space == server["metadata"]["namespace"]
    pod, _ = deployed()
    assert server["spec"]["secretName"] in json.dumps(pod["volumes"])
    issuer = found["Issuer", server["spec"]["issuerRef"]["name"]]
    authority = next(
        one
        for (kind, _), one in found.items()
        if kind == "Certificate" and one["spec"]["secretName"] == issuer["spec"]["ca"]["secretName"]
    )
    assert authority["spec"]["isCA"] is True
    assert found["Issuer", authority["spec"]["issuerRef"]["name"]]["spec"] == {"selfSigned": {}}
    assert hours(authority["spec"]["duration"]) > 10 * hours(server["spec"]["duration"])
    assert hours(server["spec"]["renewBefore"]) >= hours(server["spec"]["duration"]) / 3


def hours(text: str) -> int:
    return int(text.removesuffix("h"))


def test_no_private_key_and_no_secret_is_printed() -> None:
    for options in ((), ("--self-managed",)):
        assert "PRIVATE KEY" not in printed(*options)
        assert "Secret" not in {kind for kind, _ in objects(*options)}


def test_every_pod_and_every_workload_is_asked_about_and_nothing_else() -> None:
    pods, workloads = only("ValidatingWebhookConfiguration")["webhooks"]
    assert resources(pods) == {("", "pods"), ("", "pods/ephemeralcontainers")}
    kinds = {(group, f"{kind.lower()}s") for group, kind in judgement._POD_SPECS}
    assert resources(pods) | resources(workloads) == (kinds - {("", "podtemplates")}) | {
        ("", "pods/ephemeralcontainers")
    }, "nothing runs by a PodTemplate alone"
    for webhook in (pods, workloads):
        assert webhook["matchPolicy"] == "Equivalent"
        assert webhook["sideEffects"] == "NoneOnDryRun"
        assert webhook["admissionReviewVersions"] == ["v1"]
        assert webhook["name"].count(".") >= 2
        assert all(rule["operations"] == ["CREATE", "UPDATE"] for rule in webhook["rules"])
        assert all(rule["scope"] == "Namespaced" for rule in webhook["rules"])


def resources(webhook: dict[str, Any]) -> set[tuple[str, str]]:
    return {(group, name) for rule in webhook["rules"] for group in rule["apiGroups"] for name in rule["resources"]}


def test_a_pod_cannot_say_that_it_need_not_be_asked_about() -> None:
    """Its conditions look at nothing that whoever makes it may write; those of workloads may, for their pods follow."""
    pods, workloads = only("ValidatingWebhookConfiguration")["webhooks"]
    assert [one["expression"] for one in pods["matchConditions"]] == [
        'request.operation == "CREATE" || object.spec != oldObject.spec'
    ]
    assert "objectSelector" not in pods
    assert "!has(object.metadata.ownerReferences)" in [one["expression"] for one in workloads["matchConditions"]]


@pytest.mark.parametrize(("options", "policy"), [((), "Ignore"), (("--fail-closed",), "Fail")])
def test_nothing_is_shut_by_surprise(options: tuple[str, ...], policy: str) -> None:
    for given in (options, (*options, "--self-managed")):
        pods, workloads = only("ValidatingWebhookConfiguration", *given)["webhooks"]
        assert (pods["failurePolicy"], workloads["failurePolicy"]) == (policy, "Ignore")
        assert f"failurePolicy: {policy}" in comment(*given)


@pytest.mark.parametrize("mode", [(), ("--self-managed",)])
def test_what_it_needs_itself_is_not_asked_about(mode: tuple[str, ...]) -> None:
    options = ("--namespace", "gate", "--exempt", "karpenter", "--exempt", "kube-system", *mode)
    own = [] if mode else ["cert-manager", "gate"]
    for webhook in only("ValidatingWebhookConfiguration", *options)["webhooks"]:
        (selected,) = webhook["namespaceSelector"]["matchExpressions"]
        assert (selected["key"], selected["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
        assert selected["values"] == sorted(["karpenter", "kube-system", *own]), "nor anything else"


def test_pod_identity_needs_no_annotation_and_its_command_is_shown() -> None:
    account = only("ServiceAccount")
    assert "annotations" not in account["metadata"]
    joined = comment().replace("\\\n", "")
    assert re.search(
        r"aws eks create-pod-identity-association --cluster-name CLUSTER\s+--namespace lazaretto "
        rf"--service-account {account['metadata']['name']} --role-arn ROLE_ARN",
        joined,
    )


def test_a_role_for_the_service_account_is_its_annotation() -> None:
    account = only("ServiceAccount", "--role-arn", ROLE)
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": ROLE}
    said = comment("--role-arn", ROLE)
    assert f"system:serviceaccount:lazaretto:{account['metadata']['name']}" in said
    assert "create-pod-identity-association" not in said


def test_an_image_of_ones_own_is_pinned() -> None:
    pinned = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/lambda/python@sha256:" + "a" * 64
    assert deployed("--image", pinned)[1]["image"] == pinned


def test_a_control_plane_of_ones_own_sends_a_token_and_needs_no_forwarder() -> None:
    (configuration,) = objects("--self-managed").values()
    for webhook in configuration["webhooks"]:
        assert webhook["clientConfig"] == {"url": f"{URL}/v1/admission/token"}, "by the system's authorities"
    assert "annotations" not in configuration["metadata"]


def test_with_a_token_fail_closed_is_recommended() -> None:
    assert "use --fail-closed" in comment("--self-managed")
    assert "use --fail-closed" not in comment("--self-managed", "--fail-closed")


def test_the_files_of_the_api_server_are_shown_and_fit_each_other() -> None:
    text = comment("--self-managed")
    configured, kubeconfig = (
        yaml.safe_load(re.sub(r"(?m)^  ", "", block)) for block in re.findall(r"(?m)^  apiVersion:(?:.|\n  )+", text)
    )
    (plugin,) = configured["plugins"]
    assert (configured["kind"], plugin["name"]) == ("AdmissionConfiguration", "ValidatingAdmissionWebhook")
    assert plugin["configuration"]["kind"] == "WebhookAdmissionConfiguration"
    assert f"{plugin['configuration']['kubeConfigFile']}, readable by" in text
    assert kubeconfig["users"] == [{"name": "abc123.execute-api.eu-west-1.amazonaws.com", "user": {"token": "TOKEN"}}]
    assert "--admission-control-config-file=/etc/kubernetes/lazaretto-admission.yaml" in text


def test_a_port_is_part_of_the_user_that_the_api_server_looks_for() -> None:
    said = CliRunner().invoke(app, ["webhook", "manifest", "--url", "https://api.example.com:8443/x", "--self-managed"])
    assert "name: api.example.com:8443\n" in said.stdout


@pytest.mark.parametrize("options", [(), ("--self-managed",), ("--role-arn", ROLE, "--fail-closed")])
def test_comments_fit_on_a_screen_and_all_of_it_is_plain(options: tuple[str, ...]) -> None:
    text = printed(*options)
    assert max(len(line) for line in text.splitlines() if line.startswith("#")) <= 100
    assert text.isascii()


def test_json_is_one_list_of_the_same_objects() -> None:
    listed = json.loads(printed("--json"))
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "List")
    assert listed["items"] == list(objects().values())


def test_a_slash_at_the_end_of_the_address_makes_no_other() -> None:
    assert printed(url=f"{URL}/") == printed()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--url", "http://127.0.0.1:8000"], "--url"),
        (["--url", "https://user:word@abc.execute-api.eu-west-1.amazonaws.com/api"], "--url"),
        (["--url", f"{URL}?x=1"], "--url"),
        (["--url", f"{URL}\n# a comment"], "--url"),
        (["--url", "https://api.example.com"], "--region"),
        (["--url", "https://api.example.com", "--region", "moon"], "--region"),
        (["--url", URL, "--namespace", "Über"], "--namespace"),
        (["--url", URL, "--namespace", "a" * 64], "--namespace"),
        (["--url", URL, "--exempt", "a_b"], "--exempt"),
        (["--url", URL, "--role-arn", "lazaretto"], "--role-arn"),
        (["--url", URL, "--image", "python 3"], "--image"),
        (["--url", URL, "--self-managed", "--image", "python:3"], "--self-managed"),
        (["--url", URL, "--self-managed", "--role-arn", ROLE], "--self-managed"),
    ],
)
def test_what_could_not_work_is_bad_input(options: list[str], named: str) -> None:
    result = CliRunner().invoke(app, ["webhook", "manifest", *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert named in result.stderr


def test_an_address_of_ones_own_says_its_region() -> None:
    _, container = deployed_at("https://lazaretto.example.com", "--region", "eu-central-1")
    assert {"name": "AWS_DEFAULT_REGION", "value": "eu-central-1"} in container["env"]


def deployed_at(url: str, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    for one in yaml.safe_load_all(printed(*options, url=url)):
        if one["kind"] == "Deployment":
            pod = one["spec"]["template"]["spec"]
            return pod, pod["containers"][0]
    raise AssertionError("no Deployment")


def token() -> dict[str, str]:
    result = CliRunner().invoke(app, ["webhook", "token", "--json"])
    assert result.exit_code == 0
    said: dict[str, str] = json.loads(result.stdout)
    return said


def test_a_token_is_new_each_time_long_and_comes_with_its_hash() -> None:
    first, second = token(), token()
    assert first["token"] != second["token"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43,}", first["token"]), "256 bits, and nothing that a header could not hold"
    assert first["sha256"] == hashlib.sha256(first["token"].encode()).hexdigest()


def test_the_hash_is_what_the_template_takes_and_the_token_is_not() -> None:
    declared = {"AdmissionTokenHashes": merged()["Parameters"]["AdmissionTokenHashes"]}
    made = token()
    for text in (made["sha256"], f"{made['sha256']},{token()['sha256']}"):
        assert choose_parameters(declared, (), {"AdmissionTokenHashes": text})
    with pytest.raises(ParameterError, match="AdmissionTokenHashes"):
        choose_parameters(declared, (), {"AdmissionTokenHashes": made["token"]})


def test_a_token_for_people_says_how_it_is_put_in_force() -> None:
    text = CliRunner().invoke(app, ["webhook", "token"]).stdout
    made, hashed = re.findall(r"(?m)^(?:token|sha256) +(\S+)$", text)
    assert hashlib.sha256(made.encode()).hexdigest() == hashed
    assert f"--parameter AdmissionTokenHashes={hashed}\n" in text
    assert text.count(made) == 1
