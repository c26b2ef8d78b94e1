"""Which images a Kubernetes object names, wherever it names them; and that nothing an object holds can do harm."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chalicelib.domain.admission.admission import AdmissionReview, AskedImage, read_image, read_review
from chalicelib.domain.admission.judgement import (
    LONGEST_WARNING,
    MAX_WARNINGS,
    AdmissionJudgement,
    AdmissionOutcome,
    Named,
    admit,
    admit_too_many,
    admit_unjudged,
    named_images,
)
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Holding, Order, PendingAct
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.names import RegistryPlace, private_registry
from chalicelib.domain.images.verdict import Decision, Reason, Verdict, VerdictSummary
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.errors import ParameterError
from tests.fakes.images import digest, image
from tests.fakes.queries import NOW

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
ENFORCING = parse_policy({"version": 1, "mode": "enforce", "exempt": {"repository": ["mirror/*"]}}, number=1)
OBSERVING = parse_policy({"version": 1, "mode": "observe"}, number=1)
POD = ("", "v1", "Pod")


def review(
    kind: tuple[str, str, str] = POD, wanted: Any = None, before: Any = None, operation: str = "CREATE", **more: Any
) -> bytes:
    group, version, name = kind
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": group, "version": version, "kind": name},
        "operation": operation,
        "namespace": "shop",
        "object": wanted,
        "oldObject": before,
        "userInfo": {"username": "system:serviceaccount:shop:deployer"},
        **more,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def pod(*images: str | None, **more: Any) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "image": name} for n, name in enumerate(images)]
    return {"metadata": {"name": "x"}, "spec": {"containers": containers, **more}}


def named(content: bytes) -> Named:
    return named_images(read_review(content).request)


def test_containers_of_every_sort_and_image_volumes_are_named_each_once() -> None:
    spec = pod("a", "b", None, "")
    spec["spec"] |= {
        "initContainers": [{"name": "i", "image": "c"}, {"name": "j", "image": "a"}],
        "ephemeralContainers": [{"name": "e", "image": "d", "targetContainerName": "c0"}],
        "volumes": [{"name": "v", "image": {"reference": "e"}}, {"name": "w", "emptyDir": {}}, {"name": "u"}],
    }
    assert named(review(wanted=spec)) == Named(("a", "b", "c", "d", "e"))


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (("", "v1", "Pod"), []),
        (("", "v1", "PodTemplate"), ["template"]),
        (("", "v1", "ReplicationController"), ["spec", "template"]),
        (("apps", "v1", "Deployment"), ["spec", "template"]),
        (("apps", "v1", "ReplicaSet"), ["spec", "template"]),
        (("apps", "v1", "StatefulSet"), ["spec", "template"]),
        (("apps", "v1", "DaemonSet"), ["spec", "template"]),
        (("batch", "v1", "Job"), ["spec", "template"]),
        (("batch", "v1", "CronJob"), ["spec", "jobTemplate", "spec", "template"]),
        (("batch", "v1beta1", "CronJob"), ["spec", "jobTemplate", "spec", "template"]),
    ],
)
def test_every_kind_that_makes_pods_is_read_where_it_describes_them(kind: tuple[str, str, str], way: list[str]) -> None:
    wanted: dict[str, Any] = pod("one", "two")
    for step in reversed(way):
        wanted = {"metadata": {}, step: wanted, "status": {"replicas": 3}}
    assert named(review(kind, wanted)) == Named(("one", "two"))


@pytest.mark.parametrize(
    "kind",
    [("argoproj.io", "v1alpha1", "Rollout"), ("example.com", "v1", "Deployment"), ("", "v1", "Binding")],
)
def test_a_kind_that_is_not_known_names_nothing_and_is_told(kind: tuple[str, str, str]) -> None:
    content = review(kind, {"spec": "whatever its owner means by it", "template": [1]})
    assert named(content) == Named(unread=True)
    answer = admit_unjudged(read_review(content).request, unread=True).answer.response
    assert answer.allowed
    assert answer.warnings == (
        f"Lazaretto does not know where {kind[2]} names images: its pods are judged when they are made",
    )


@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_what_brings_no_image_is_asked_about_none(operation: str) -> None:
    assert named(review(before=pod("a"), operation=operation)) == Named()
    assert named(review(("", "v1", "PodExecOptions"), {"command": ["sh"]}, operation=operation)) == Named()


def test_an_update_is_asked_about_what_it_brings_alone() -> None:
    before = pod("a", "b", volumes=[{"name": "v", "image": {"reference": "m"}}])
    assert named(review(wanted=before, before=before, operation="UPDATE")) == Named()
    wanted = pod("a", "b2", volumes=[{"name": "v", "image": {"reference": "m2"}}])
    assert named(review(wanted=wanted, before=before, operation="UPDATE")) == Named(("b2", "m2"))
    moved = {"spec": {"containers": [{"name": "c0", "image": "b"}], "volumes": [{"name": "c0"}]}}
    assert named(review(wanted=moved, before=before, operation="UPDATE")) == Named(("b",)), "under another name"
    assert named(review(wanted=before, before=None, operation="UPDATE")) == Named(("a", "b", "m")), "nothing stood"
    assert named(review(wanted=before, before=before)) == Named(("a", "b", "m")), "what is made anew had nothing"


def test_a_container_put_beside_running_ones_is_judged() -> None:
    before = pod("a")
    wanted = pod("a", ephemeralContainers=[{"name": "debug", "image": "shell"}])
    content = review(wanted=wanted, before=before, operation="UPDATE", subResource="ephemeralcontainers")
    assert named(content) == Named(("shell",))


@pytest.mark.parametrize("inner", [b"1", b'"]}\\"{["', b"[" * 500 + b"]" * 500])
def test_an_object_nested_as_deep_as_an_api_server_takes_is_no_way_in(inner: bytes) -> None:
    """Whoever makes a Pod may write its `managedFields`; refused here it would start, where failures are ignored."""
    fields = b'{"f:\\"":' * 100_000 + inner + b"}" * 100_000
    wanted = {"metadata": {"managedFields": [{"fieldsV1": "deep"}, {"manager": "next"}]}, **pod("a")}
    assert named(review(wanted=wanted).replace(b'"deep"', fields)) == Named(("a",))


@pytest.mark.parametrize(
    ("content", "field", "why"),
    [
        (b"", "body", "is no JSON"),
        (b"{", "body", "is no JSON"),
        (b"\xff", "body", "is no JSON"),
        (b"[]", "body", "expected keys and values"),
        (b"{}", "apiVersion", "must be given"),
        (b'{"apiVersion": "admission.k8s.io/v1beta1"}', "apiVersion", "did you mean `admission.k8s.io/v1`"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "Pod"}', "kind", "AdmissionReview"),
        (b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}', "request", "must be given"),
        (review(uid=""), "request.uid", ""),
        (review(uid=7), "request.uid", "expected a text"),
        (review(uid="x" * 200), "request.uid", ""),
        (review(kind=("", "v1", 7)), "request.kind.kind", "expected a text"),  # type: ignore[arg-type]
        (review(operation="PATCH"), "request.operation", "unknown word"),
        (review().replace(b'"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", ', b""), "request.uid", "must be given"),
        (review(wanted=None), "request.object", "must be given"),
        (review(wanted=[1]), "request.object", "expected"),
        (review(wanted=pod(7)), "request.object.spec.containers[0].image", "expected a text"),  # type: ignore[arg-type]
        (review(wanted=pod("a"), before=pod([]), operation="UPDATE"), "request.oldObject.spec.containers[0].image", ""),  # type: ignore[arg-type]
        (review(wanted="deep").replace(b'"deep"', b"[" * 200_000 + b"]" * 200_000), "request.object", "expected"),
        (b"[" * 200_000, "body", "expected"),
        (b"[" * 200_000 + b'"' + b'\\"' * 2_000_000, "body", "expected"),
    ],
)
def test_what_is_no_review_is_refused_by_field(content: bytes, field: str, why: str) -> None:
    with pytest.raises(ParameterError) as refused:
        named(content)
    assert refused.value.parameter == field
    assert why in refused.value.reason


# --- images


@pytest.mark.parametrize(
    ("host", "registry"),
    [
        (ECR, RegistryPlace("eu-west-1", "111122223333")),
        (f"{ECR}:443", RegistryPlace("eu-west-1", "111122223333")),
        (f"{ECR}:000443", RegistryPlace("eu-west-1", "111122223333")),
        (f"{ECR}.", RegistryPlace("eu-west-1", "111122223333")),
        (ECR.upper(), RegistryPlace("eu-west-1", "111122223333")),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", RegistryPlace("cn-north-1", "111122223333")),
        ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", RegistryPlace("us-gov-west-1", "111122223333")),
        ("111122223333.dkr-ecr.eu-west-1.on.aws", RegistryPlace("eu-west-1", "111122223333")),
        ("111122223333.dkr-ecr-fips.us-east-1.on.aws", RegistryPlace("us-east-1", "111122223333")),
        ("111122223333.dkr.ecr.eu-west-1.evil.example", None),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.example", None),
        ("evil.example", None),
        ("public.ecr.aws.evil.example", None),
        ("docker.io", None),
    ],
)
def test_a_registry_is_ecrs_where_aws_alone_can_answer_for_its_host(host: str, registry: RegistryPlace | None) -> None:
    """Anybody may put the name of an account before a domain of his own."""
    assert private_registry(f"{host}/team/api:1") == registry
    assert read_image(f"{host}/team/api:1").registry == registry
    assert (read_image(f"{host}/team/api:1").name is None) is (registry is None)


@pytest.mark.parametrize("zeros", [1, 4, 700, 100_000])
def test_a_port_makes_no_other_registry_however_many_zeros_it_begins_with(zeros: int) -> None:
    """Whoever pulls dials the port of that number."""
    port = ":" + "0" * zeros + "443"
    assert read_image(f"{ECR}{port}/team/api:2").uri == f"{ECR}/team/api:2"
    assert read_image(f"public.ecr.aws{port}/acme/team/api:2").uri == "public.ecr.aws/acme/team/api:2"
    assert not read_image(f"{ECR}{port}/{'a' * 700}").foreign


def test_what_a_name_means_is_what_is_pulled_by_it() -> None:
    assert read_image(f"{ECR}/team/api").shown == "team/api:latest"
    assert read_image(f"{ECR}/team/api:2").uri == f"{ECR}/team/api:2"
    both = read_image(f"{ECR}/team/api:2@{digest(1)}")
    assert both.ref({(both.name.home, "2"): digest(9)}) == image(1).ref, "the digest beside a tag wins"
    assert both.uri == f"{ECR}/team/api@{digest(1)}"
    assert read_image(f"{ECR}/team/api:2").ref({}) is None
    public = read_image("ecr-public.aws.com/acme/team/api:2")
    assert public.uri == "public.ecr.aws/acme/team/api:2"
    assert not public.foreign


@pytest.mark.parametrize(
    "rest",
    [
        "/team/api@sha512:abc",
        "/team/api:a tag",
        "/team/api:\x1b[31m",
        "/team/api:" + "t" * 129,
        "/Team/API",
        "/",
        "",
        "/team/api@",
        "/" + "a" * 700,
        "/a@sha256:" + "A" * 64,
    ],
)
def test_a_name_that_ecr_cannot_have_is_not_let_in_where_its_registry_is_watched(rest: str) -> None:
    """Whatever a runtime makes of it, nobody has judged that."""
    asked = read_image(ECR + rest)
    assert (asked.name, asked.foreign) == (None, False)
    answer = admit(request(), [AdmissionJudgement(asked)], ENFORCING, NOW).answer.response
    assert not answer.allowed
    assert "is no name of an image in Amazon ECR" in message(answer)


# --- answers


def request(content: bytes | None = None) -> Any:
    return read_review(content or review(wanted=pod("x"))).request


def message(response: Any) -> str:
    assert response.status.code == 403
    text: str = response.status.message
    return text


def judged(
    decision: Decision | None, *, repository: str = "team/api", reasons: tuple[Reason, ...] = (), **changes: Any
) -> AdmissionJudgement:
    where = msgspec.structs.replace(image(1).ref, repository=repository)
    header = image(1, decision or Decision.ALLOW, where, **changes)
    if decision is None:
        header = msgspec.structs.replace(header, verdict=None)
    if reasons and decision:
        header = msgspec.structs.replace(header, verdict=Verdict(decision, reasons, 3, NOW))
    return AdmissionJudgement(read_image(f"{ECR}/{repository}:1.4.2"), header, digest=digest(1))


def told(one: AdmissionJudgement, policy: Policy = ENFORCING) -> tuple[bool, str | None, tuple[str, ...]]:
    response = admit(request(), [one], policy, NOW).answer.response
    return response.allowed, None if response.status is msgspec.UNSET else response.status.message, response.warnings


def test_the_doors_open_for_allow_and_warn_alone() -> None:
    assert told(judged(Decision.ALLOW)) == (True, None, ())
    allowed, why, warnings = told(judged(Decision.WARN))
    assert (allowed, why) == (True, None)
    assert warnings == ("team/api:1.4.2 is WARN: critical (CVE-2026-0001)",)
    for decision in (Decision.PENDING, Decision.BLOCK, Decision.QUARANTINE, None):
        assert told(judged(decision))[0] is False


def test_a_refusal_names_image_decision_reason_and_what_to_do_on_one_line() -> None:
    found = Reason("exploited", Decision.QUARANTINE, "", 3, 1, 1, ("CVE-2026-0007", "CVE-2026-0008"))
    weaker = Reason("too-many", Decision.WARN, "", 9, 0, 0, ("CVE-2026-0001",))
    assert told(judged(Decision.QUARANTINE, reasons=(weaker, found)))[1] == (
        f"team/api:1.4.2 is QUARANTINE: exploited (CVE-2026-0007 and 2 more); see: lazaretto image {ECR}/team/api:1.4.2"
    )
    pending = Reason("pending", Decision.PENDING, "no complete scan yet; scan IN_PROGRESS")
    assert told(judged(Decision.PENDING, reasons=(pending,)))[1] == (
        "team/api:1.4.2 is PENDING: pending (no complete scan yet; scan IN_PROGRESS); "
        f"see: lazaretto image {ECR}/team/api:1.4.2"
    )


def test_what_has_no_verdict_says_why_and_a_person_can_let_it_in() -> None:
    """Models and charts are mounted as image volumes."""
    said = told(judged(None))[1] or ""
    assert said.startswith("team/api:1.4.2 is PENDING: it is not judged yet; see:")
    said = told(judged(None, kind=Kind.ARTIFACT))[1] or ""
    assert said.startswith("team/api:1.4.2 is PENDING: it is no image, and nothing scans it; see:")
    assert told(judged(None, kind=Kind.ARTIFACT, order=RELEASE))[0] is True


def test_an_image_nobody_has_heard_of_is_let_in_where_its_registry_is_not_watched_alone() -> None:
    asked = read_image(f"{ECR}/team/new:1")
    assert told(AdmissionJudgement(asked))[:2] == (
        False,
        "team/new:1 is unknown: it was never judged; if it is in ECR: lazaretto reconcile --repository team/new",
    )
    allowed, _, warnings = told(AdmissionJudgement(asked, watched=False))
    assert allowed
    assert warnings[0].endswith("is of no registry that Lazaretto watches: not judged")
    assert told(AdmissionJudgement(read_image("nginx:1.25"), watched=False))[2] == (
        "nginx:1.25 is of no registry that Lazaretto watches: not judged",
    )


def test_what_waits_for_the_brake_of_releases_is_not_let_in_though_its_repository_is_exempt_by_now() -> None:
    held = PendingAct(ActionType.RELEASE, 2, NOW, held=Deferred(Holding.FUSE, "too many releases in an hour", NOW))
    for repository in ("team/api", "mirror/api"):
        why = f"{repository}:1.4.2 is QUARANTINE: release (its release waits for the brake)"
        assert told(judged(Decision.ALLOW, repository=repository, pending=(held,)))[:2] == (
            False,
            f"{why}; see: lazaretto image {ECR}/{repository}:1.4.2",
        )


def test_an_image_that_was_deleted_is_not_let_in() -> None:
    assert told(judged(Decision.ALLOW, exists=False))[:2] == (
        False,
        "team/api:1.4.2 was deleted from ECR, as far as is known",
    )


RELEASE = Order(ActionType.RELEASE, "person:oncall", "must run today", NOW, VerdictSummary(Decision.BLOCK, 1, 0))


def test_where_nothing_is_to_be_done_pods_start_with_a_warning_that_says_what_would_be() -> None:
    text = "team/api:1.4.2 is BLOCK: critical (CVE-2026-0001)"
    assert told(judged(Decision.BLOCK), OBSERVING) == (True, None, (f"would be denied (policy observes): {text}",))
    exempt = judged(Decision.BLOCK, repository="mirror/api")
    assert told(exempt)[::2] == (True, (f"would be denied (exempt): {text.replace('team', 'mirror')}",))
    released = judged(Decision.BLOCK, order=RELEASE)
    assert told(released)[::2] == (True, (f"would be denied (released by a person): {text}",))
    assert admit(request(), [released], ENFORCING, NOW).outcome is AdmissionOutcome.OBSERVED
    ordered = msgspec.structs.replace(RELEASE, kind=ActionType.QUARANTINE)
    assert told(judged(Decision.BLOCK, order=ordered))[0] is False, "an order to take it away releases nothing"


def test_a_release_lets_in_no_image_that_was_deleted() -> None:
    assert told(judged(Decision.ALLOW, exists=False, order=RELEASE))[0] is False, "what is deleted is not what it was"


def test_one_bad_image_keeps_out_what_good_and_excused_ones_would_not() -> None:
    several = [judged(Decision.ALLOW), judged(Decision.BLOCK, repository="mirror/x"), judged(Decision.BLOCK)]
    admission = admit(request(), several, ENFORCING, NOW)
    assert (admission.outcome, admission.answer.response.allowed) == (AdmissionOutcome.DENIED, False)
    assert "mirror/x" not in message(admission.answer.response)
    assert len(admission.answer.response.warnings) == 1


def test_many_refusals_are_counted_and_warnings_end_in_time() -> None:
    response = admit(request(), [judged(Decision.BLOCK)] * 40, ENFORCING, NOW).answer.response
    assert message(response).endswith(" | and 37 more")
    assert len(message(response)) < 1_400
    warnings = admit(request(), [judged(Decision.WARN)] * 40, ENFORCING, NOW).answer.response.warnings
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1] == "and 20 more warnings of Lazaretto"
    assert sum(map(len, warnings)) < 4_096


def test_more_images_than_are_judged_are_no_way_in() -> None:
    assert not admit_too_many(request(), ENFORCING).answer.response.allowed
    observed = admit_too_many(request(), OBSERVING)
    assert (observed.answer.response.allowed, observed.outcome) == (True, AdmissionOutcome.OBSERVED)


def test_the_answer_is_the_review_that_the_api_server_waits_for() -> None:
    answer = msgspec.json.decode(msgspec.json.encode(admit(request(), [], ENFORCING, NOW).answer))
    assert answer == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "705ab4f5-6393-11e8-b7cc-42010a800002", "allowed": True, "warnings": []},
    }


# --- whatever is sent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
IMAGES = st.one_of(
    st.text(max_size=80),
    st.text(max_size=60).map(lambda rest: f"{ECR}/{rest}"),
    st.text(max_size=60).map(lambda rest: f"public.ecr.aws/{rest}"),
    st.from_regex(rf"{ECR}/[a-z]{{1,9}}(:[a-z0-9.]{{1,9}})?(@sha256:[0-9a-f]{{64}})?", fullmatch=True),
)
CONTAINERS = st.lists(
    st.fixed_dictionaries({}, optional={"name": st.text(max_size=8), "image": st.none() | IMAGES, "env": JSON}),
    max_size=5,
)
SPECS = st.fixed_dictionaries(
    {"containers": CONTAINERS},
    optional={"initContainers": st.none() | CONTAINERS, "ephemeralContainers": CONTAINERS, "nodeName": JSON},
)


def is_printable(text: str) -> bool:
    return text.isprintable() and "\n" not in text


@given(SPECS, st.none() | SPECS, st.sampled_from(["CREATE", "UPDATE"]), st.sampled_from(list(Decision)))
@settings(max_examples=150, deadline=None)
def test_any_specification_of_pods_is_answered_in_short_printable_lines(
    spec: Any, before: Any, operation: str, decision: Decision
) -> None:
    content = review(wanted={"spec": spec}, before=before and {"spec": before}, operation=operation)
    asked = read_review(content).request
    images = [read_image(text) for text in named_images(asked).images]
    several = [
        AdmissionJudgement(one, image(1, decision) if one.name else None, watched=not one.foreign) for one in images
    ]
    response = admit(asked, several, ENFORCING, NOW).answer.response
    assert all(is_printable(warning) and len(warning) <= LONGEST_WARNING for warning in response.warnings)
    if not response.allowed:
        assert is_printable(message(response))
        assert len(message(response)) < 1_400
    closed = any(one.name and decision not in (Decision.ALLOW, Decision.WARN) for one in images)
    unreadable = any(one.registry and one.name is None for one in images)
    assert response.allowed is not (closed or unreadable)


@given(JSON | st.fixed_dictionaries({"apiVersion": st.just("admission.k8s.io/v1"), "request": JSON}))
@settings(max_examples=150, deadline=None)
def test_any_json_is_read_or_refused_by_field(document: Any) -> None:
    with suppress(ParameterError):
        assert isinstance(read_review(json.dumps(document).encode()), AdmissionReview)


@given(st.text(max_size=40), st.text(max_size=400))
@settings(max_examples=150, deadline=None)
def test_a_refusal_repeats_nothing_that_a_terminal_would_obey(version: str, operation: str) -> None:
    assume(operation not in ("CREATE", "UPDATE", "DELETE", "CONNECT"))
    for content in (
        json.dumps({"apiVersion": version}).encode(),
        review(operation=operation),
        review(wanted={"spec": {"containers": {version: operation}}}),
    ):
        with pytest.raises(ParameterError) as refused:
            named(content)
        assert is_printable(str(refused.value))
        assert len(str(refused.value)) < 520


@given(st.text(max_size=700))
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_image_or_none(text: str) -> None:
    for asked in (read_image(text), read_image(f"{ECR}/{text}"), read_image(f"{ECR}/a:{text}")):
        assert isinstance(asked, AskedImage)
        assert is_printable(asked.shown)
        assert len(asked.shown) <= 60
        assert asked.uri.isascii()
        assert not set(asked.uri) & set(" ;|&$`'\"\\<>()")
