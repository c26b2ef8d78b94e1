"""What the texts of ECS, containerd, docker and the kubelet say of a pull that failed, and of which image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.events.pull_failure import (
    MAX_SAID,
    PullFailureCause,
    PullRefusal,
    classify,
    manifest_digests,
    named_image,
    read_refusal,
    wanted_platform,
    without_names,
)
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import ImageName

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
HOME = Repository("111122223333", "eu-west-1", "team/api")
D, E = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
IMAGE = f"{HOST}/team/api:1.4.2"
ARN = "arn:aws:ecr:eu-west-1:111122223333:repository/team/api"
USER = "User: arn:aws:sts::111122223333:assumed-role/api-execution/0123456789abcdef0123456789abcdef"
PULL = "CannotPullContainerError: pull image manifest has been retried"
KUBELET = (
    f'Failed to pull image "{IMAGE}": failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}"'
)
DAEMON = "CannotPullContainerError: Error response from daemon:"
REFUSED = f"{DAEMON} pull access denied for {HOST}/team/api, repository does not exist or may require 'docker login'"
AUTH = "ResourceInitializationError: unable to pull secrets or registry auth:"
HEAD = f"https://{HOST}/v2/team/api"

SAID: dict[PullFailureCause, list[str]] = {
    # The image or its tag is not there, or is archived: ECR answers 404 to both.
    PullFailureCause.NOT_FOUND: [
        f"CannotPullContainerError: {IMAGE}: not found",
        f"{PULL} 5 time(s): failed to resolve ref {IMAGE}: {IMAGE}: not found",
        f"CannotPullContainerError: inspect image has been retried 1 time(s): failed to resolve ref {IMAGE}: not found",
        f"{DAEMON} manifest for {IMAGE} not found: manifest unknown: Requested image not found",
        "CannotPullImageManifestError: Error response from daemon: manifest unknown: manifest unknown",
        "CannotPullImageManifestError: image Manifest does not exist",
        f"rpc error: code = NotFound desc = {KUBELET}: {IMAGE}: not found",
        f"failed to copy: content at {HEAD}/manifests/{E} not found: not found",
        "CannotPullContainerError: API error (404): repository team/api not found",
        f"ImageNotFoundException: The image with imageId {{imageTag:'1.4.2'}} does not exist within {ARN}",
        "The task can’t pull the image. Check whether the image exists.",
        # A digest that the registry does not know: containerd asks for it as a blob then, and is answered 403.
        f"{PULL} 1 time(s): failed to resolve ref {HOST}/team/api:latest@{D}: "
        f"unexpected status from HEAD request to {HEAD}/blobs/{D}: 403 Forbidden",
    ],
    PullFailureCause.NO_REPOSITORY: [
        f"{DAEMON} repository {HOST}/team/api not found: name unknown: "
        "The repository with name 'team/api' does not exist in the registry with id '111122223333'",
        "RepositoryNotFoundException: no",
    ],
    PullFailureCause.ACCESS_DENIED: [
        f"{PULL} 1 time(s): failed to resolve ref {IMAGE}: pulling from host {HOST} failed with "
        "status code [manifests 1.4.2]: 403 Forbidden",
        f"{PULL} 1 time(s): failed to resolve ref {HOST}/team/api@{D}: "
        f"unexpected status from HEAD request to {HEAD}/manifests/{D}: 403 Forbidden",
        "CannotPullContainerError: ref pull has been retried 1 time(s): failed to copy: httpReadSeeker: "
        f"failed open: unexpected status code {HEAD}/blobs/{E}: 403 Forbidden",
        f"{REFUSED}: denied: {USER} is not authorized to perform: ecr:BatchGetImage on resource: {ARN} "
        "with an explicit deny in a resource-based policy",
        REFUSED,
        f"CannotPullECRContainerError: AccessDeniedException: {USER} is not authorized to perform: "
        "ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the action",
        f"{AUTH} execution resource retrieval failed: unable to get registry auth from ecr: service call has been "
        f"retried 1 time(s): AccessDeniedException: {USER} is not authorized to perform: ecr:GetAuthorizationToken",
        f"{DAEMON} error pulling image configuration: download failed after attempts=1: error parsing HTTP 403 "
        "response body: invalid character '<': \"<Error><Code>AccessDenied</Code>\"",
        "errors: denied: requested access to the resource is denied",
    ],
    PullFailureCause.NOT_SIGNED_IN: [
        f'{DAEMON} Head "{HEAD}/manifests/1.4.2": no basic auth credentials',
        f"{KUBELET}: pull access denied, repository does not exist or may require authorization: "
        "authorization failed: no basic auth credentials",
        f"{KUBELET}: unexpected status from HEAD request to {HEAD}/manifests/1.4.2: 401 Unauthorized",
        "denied: Your authorization token has expired. Reauthenticate and try again.",
    ],
    PullFailureCause.UNREACHABLE: [
        f"{PULL} 5 time(s): failed to resolve ref {IMAGE}: failed to do request: "
        f'Head "{HEAD}/manifests/1.4.2": dial tcp 10.0.3.17:443: i/o timeout',
        f"CannotPullContainerError: API error (500): Get https://{HOST}/v2/: net/http: "
        "request canceled while waiting for connection",
        f"CannotPullContainerError: The task cannot pull {IMAGE} from the registry {HOST}/team/api. There is a "
        "connection issue between the task and the registry. Check your task network configuration.",
        f"{AUTH} The task cannot pull registry auth from Amazon ECR: There is a connection issue between the task "
        "and Amazon ECR. Check your task network configuration.",
        f"{KUBELET}: failed to do request: dial tcp: lookup {HOST} on 10.0.0.2:53: no such host",
        "failed to verify certificate: x509: certificate signed by unknown authority",
        "CannotPullContainerError: context canceled",
    ],
    PullFailureCause.WRONG_PLATFORM: [
        f"{DAEMON} no matching manifest for linux/arm64/v8 in the manifest list entries: "
        "no match for platform in manifest: not found",
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): "
        "image Manifest does not contain descriptor matching platform 'linux/amd64'",
        "no match for current platform linux/arm/v7 in manifest sha256:32ef: not found",
        "choosing image instance: no image found in image index for architecture arm64",
    ],
    PullFailureCause.THROTTLED: [
        f"{DAEMON} toomanyrequests: Rate exceeded",
        "toomanyrequests: Too Many Requests (HAP429)",
        f"{KUBELET}: unexpected status from HEAD request to {HEAD}/manifests/1.4.2: 429 Too Many Requests",
        "ThrottlingException: slow down",
    ],
    PullFailureCause.NO_SPACE: [
        "CannotPullContainerError: write /var/lib/docker/tmp/GetImageBlob111: no space left on device"
    ],
    PullFailureCause.DAMAGED: [
        "ref pull has been retried 1 time(s): number of layers and diffIDs don't match: 3 != 15",
        f"failed commit on ref: unexpected commit digest {D}, expected {E}: failed precondition",
    ],
    PullFailureCause.BAD_NAME: [
        "Error response from daemon: invalid reference format",
        "Failed to apply default image tag: couldn't parse image name: InvalidImageName",
    ],
    PullFailureCause.UPSTREAM: ["UnableToGetUpstreamImageException: unable to pull through"],
    PullFailureCause.REGISTRY_ERROR: [
        f"{KUBELET}: unexpected status from HEAD request: 500 Internal Server Error",
        f"{KUBELET}: unexpected status from HEAD request to {HEAD}/manifests/1.4.2: 503",
    ],
    # Secrets come before the image, and are not about it.
    PullFailureCause.NO_SECRET: [
        f"{AUTH} execution resource retrieval failed: unable to retrieve secret from asm: service call has been "
        "retried 5 time(s): AccessDeniedException",
        f"{AUTH} unable to retrieve secrets from ssm: service call has been retried 1 time(s)",
    ],
    PullFailureCause.UNKNOWN: [
        f'Back-off pulling image "{IMAGE}"',
        "pull command failed: panic: runtime error: invalid memory address or nil pointer dereference",
        "",
    ],
}
TEXTS = [(cause, text) for cause, texts in SAID.items() for text in texts]


@pytest.mark.parametrize(("cause", "text"), TEXTS)
def test_a_text_says_what_went_wrong(cause: PullFailureCause, text: str) -> None:
    assert classify(text) is cause
    assert classify(text.replace(" ", "\n ")) is cause or "resolve ref" in text


def test_every_cause_that_a_text_can_say_is_met() -> None:
    told_by_the_registry = {
        PullFailureCause.QUARANTINE,
        PullFailureCause.DENY,
        PullFailureCause.ARCHIVED,
        PullFailureCause.RESTORING,
    }
    assert set(SAID) == set(PullFailureCause) - told_by_the_registry


@pytest.mark.parametrize("name", ["team/not-found", "denied/throttled", "x509/no-space-left-on-device", "http/403"])
def test_what_an_image_is_called_is_no_part_of_the_reason(name: str) -> None:
    image = f"{HOST}/{name}:429-toomanyrequests"
    assert classify(f'Back-off pulling image "{image}"') is PullFailureCause.UNKNOWN
    assert classify(f"{PULL} 1 time(s): failed to resolve ref {image}: i/o timeout") is PullFailureCause.UNREACHABLE


def test_a_layer_that_is_refused_is_not_an_unknown_digest() -> None:
    """Only the digest that was asked for is looked for as a blob while it is resolved."""
    text = f"failed to resolve ref {HOST}/team/api@{D}: unexpected status: {HEAD}/blobs/{E}: 403 Forbidden"
    assert classify(text, D) is PullFailureCause.ACCESS_DENIED
    assert classify(text.replace(E, D), D) is PullFailureCause.NOT_FOUND


@given(st.text(max_size=300), st.sampled_from([text for _, text in TEXTS]), st.integers(0, 200))
def test_any_text_is_read_to_its_end(noise: str, text: str, at: int) -> None:
    for said in (noise, text[:at] + noise + text[at:]):
        assert classify(said) in set(PullFailureCause)
        named = named_image(said)
        assert named is None or named.short
        read_refusal(said)


def test_a_text_without_end_is_read_in_no_time() -> None:
    for piece in ("arn:aws:ecr:", f"{HOST}/a", "a/", "/v2/a/", "403 ", f"{HEAD}/manifests/", "/blobs/"):
        classify(piece * 50_000)
        named_image((piece * 50_000)[:MAX_SAID])


# ---- which image


@pytest.mark.parametrize(
    ("text", "tag", "digest"),
    [
        (f"CannotPullContainerError: {IMAGE}: not found", "1.4.2", None),
        (f"{PULL} 1 time(s): failed to resolve ref {HOST}/team/api:latest@{D}: not found", "latest", D),
        (f"{HOST}/team/api@{D}: not found", None, D),
        (f'Get "{HEAD}/manifests/1.4.2": dial tcp: i/o timeout', "1.4.2", None),
        (f"content at {HEAD}/manifests/{E} not found: not found", None, E),
        (f"failed to copy {IMAGE}: content at {HEAD}/manifests/{E} not found", "1.4.2", None),
        (f"pull access denied for {HOST}/team/api, repository does not exist", None, None),
        (f"could not pull {HOST}/team/api.", None, None),
        (f"could not pull {IMAGE}.", "1.4.2", None),
        (f"is not authorized to perform: ecr:BatchGetImage on resource: {ARN} because", None, None),
        ("111122223333.dkr-ecr.eu-west-1.on.aws/team/api:1: not found", "1", None),
        ("111122223333.dkr.ecr-fips.eu-west-1.amazonaws.com/team/api:1: not found", "1", None),
    ],
)
def test_the_image_is_found_in_the_text(text: str, tag: str | None, digest: str | None) -> None:
    assert named_image(text) == ImageName(HOME, tag, digest)


@pytest.mark.parametrize(
    "text", ["", "docker.io/library/nginx:1: not found", f"Get https://{HOST}/v2/: timeout", f"{HOST}/Team/API:1"]
)
def test_a_text_may_name_no_image_of_ecr(text: str) -> None:
    assert named_image(text) is None


def test_a_public_image_is_found_too() -> None:
    named = named_image("failed to resolve ref public.ecr.aws/demo/relay:1.11.3: not found")
    assert named == ImageName(Repository("public/demo", "us-east-1", "relay"), "1.11.3")
    assert str(named) == "public.ecr.aws/demo/relay:1.11.3"


def test_names_for_people_leave_out_what_is_long() -> None:
    assert ImageName(HOME, "1", D).short == "team/api:1"
    assert ImageName(HOME, None, D).short == f"team/api@sha256:{'a' * 12}"
    assert ImageName(HOME).short == "team/api"
    assert str(ImageName(HOME, "1", D)) == f"{HOST}/team/api:1@{D}"


def test_manifests_that_were_asked_for_are_named() -> None:
    assert manifest_digests(f"{HEAD}/manifests/{E}: 404, {HEAD}/manifests/1.4.2, {HEAD}/blobs/{D}") == (E,)


def test_names_are_taken_out_and_the_rest_stays() -> None:
    assert without_names(f'ref "{IMAGE}": ({HEAD}/manifests/x): 403, {ARN} no') == 'ref "IMAGE": (IMAGE): 403, ARN no'


# ---- what IAM says beside its no


@pytest.mark.parametrize(
    ("because", "expected"),
    [
        ("with an explicit deny in a resource-based policy", {"deny": "resource-based policy"}),
        ("with an explicit deny in an identity-based policy", {"deny": "identity-based policy"}),
        ("with an explicit deny in a service control policy", {"deny": "service control policy"}),
        ("with an explicit deny in a VPC endpoint policy", {"deny": "VPC endpoint policy"}),
        ("with an explicit deny in a permissions boundary", {"deny": "permissions boundary"}),
        ("because no identity-based policy allows the x action", {"wanting": "identity-based policy"}),
        ("because no resource-based policy allows the x action", {"wanting": "resource-based policy"}),
        ("", {}),
    ],
)
def test_a_refusal_names_role_action_and_policy(because: str, expected: dict[str, str]) -> None:
    text = f"denied: {USER} is not authorized to perform: ecr:BatchGetImage on resource: {ARN} {because}"
    role = "arn:aws:iam::111122223333:role/api-execution"
    assert read_refusal(text) == PullRefusal(role, "ecr:BatchGetImage", **expected)


def test_a_layer_that_s3_refuses_is_told_from_a_pull() -> None:
    assert read_refusal("https://prod-eu-west-1-starport-layer-bucket.s3.amazonaws.com/x: 403 Forbidden").layers
    assert read_refusal("403 Forbidden") == PullRefusal()


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "linux/arm64/v8"),
        ("no match for current platform linux/arm/v7 in manifest", "linux/arm/v7"),
        ("does not contain descriptor matching platform 'linux/amd64'", "linux/amd64"),
        ("no match for platform in manifest: not found", None),
    ],
)
def test_the_platform_that_was_wanted_is_read(text: str, platform: str | None) -> None:
    assert wanted_platform(text) == platform
