"""ECR for retention, on the local AWS: listed whole, read a hundred at a time, deleted with what ECR says of each."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from chalicelib.adapters.ecr.keeper import EcrKeeper
from chalicelib.domain.retention.image import Inside, Layer
from chalicelib.errors import AbsentError, DeniedError, TooLargeError, TransientError, UpstreamError
from chalicelib.local.ecr.ecr import MANIFEST, LocalEcr, ecr_of
from tests.adapters.local_ecr import EcrClient, refused
from tests.fakes.keeper import INDEX
from tests.local import samples

HOME = samples.ref().home
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def keeper(**answers: Any) -> EcrKeeper:
    client: Any = EcrClient(**answers)
    return EcrKeeper(lambda *_: client)


def saying(**more: Any) -> Any:
    """ECR's answer, but of no image that is gone, and with this."""
    return lambda real: real() | {"imageIds": [], **more}


def digest_of(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def hold(body: dict[str, Any], media_type: str = MANIFEST, *tags: str) -> str:
    text = json.dumps({"schemaVersion": 2, "mediaType": media_type, **body})
    held = ecr_of(HOME).hold_image(HOME.name, digest_of(text), text, media_type, samples.PUSHED)
    for tag in tags:
        ecr_of(HOME).tag_image(held, tag)
    return held.image_digest


def image(number: int, *tags: str, subject: str | None = None) -> str:
    blob = {"mediaType": CONFIG, "digest": f"sha256:{number:064x}", "size": number}
    layer = {"mediaType": LAYER, "digest": f"sha256:{'e' * 64}", "size": 1000}
    said = {"subject": {"digest": subject, "mediaType": MANIFEST, "size": 1}} if subject else {}
    return hold({"config": blob, "layers": [layer], **said}, MANIFEST, *tags)


def index(*children: str, tag: str = "v1") -> str:
    rows = [{"mediaType": MANIFEST, "digest": child, "size": 1} for child in children]
    return hold({"manifests": rows}, INDEX, tag)


def test_all_images_are_listed_archived_ones_too(ecr: LocalEcr) -> None:
    one, two = image(1, "a"), image(2)
    ecr.change_storage(HOME.name, {"imageDigest": two}, "ARCHIVE")
    listed = keeper().images(HOME)
    assert set(listed.images) == {one, two}
    assert not listed.absent


def test_a_listing_that_is_too_long_ends_at_its_first_page_that_is(ecr: LocalEcr) -> None:
    image(1), image(2), image(3)
    assert len(keeper().images(HOME, most=3).images) == 3
    with pytest.raises(TooLargeError, match="more than 2 images"):
        keeper().images(HOME, most=2)


def test_a_repository_that_is_not_there_is_absent(ecr: LocalEcr) -> None:
    assert keeper().images(HOME).absent


def test_a_manifest_tells_children_subject_and_layers(ecr: LocalEcr) -> None:
    one = image(1)
    signature, whole = image(2, subject=one), index(one)
    inside = keeper().insides(HOME, [one, signature, whole])
    shared = Layer(f"sha256:{'e' * 64}", 1000)
    assert inside[one] == Inside((), None, (Layer(f"sha256:{1:064x}", 1), shared))
    assert inside[signature].subject == one
    assert inside[whole] == Inside((one,), None, ())


def test_what_is_archived_or_gone_is_absent_from_the_answer(ecr: LocalEcr) -> None:
    one, two = image(1), image(2)
    ecr.change_storage(HOME.name, {"imageDigest": two}, "ARCHIVE")
    assert set(keeper().insides(HOME, [one, two, f"sha256:{'0' * 64}"])) == {one}


def test_a_hundred_manifests_are_one_call(ecr: LocalEcr) -> None:
    digests = [image(n) for n in range(1, 202)]
    client: Any = EcrClient()
    assert len(EcrKeeper(lambda *_: client).insides(HOME, digests)) == 201
    assert client.called == ["batch_get_image"] * 3


def test_images_are_deleted_with_their_tags_and_one_that_is_gone_is_success(ecr: LocalEcr) -> None:
    one, two, bare = image(1, "a", "b"), image(2, "c"), image(3)
    gone = {f"sha256:{'0' * 64}": (), f"sha256:{'1' * 64}": ("z",)}
    done = keeper().delete(HOME, {one: ("a", "b"), bare: (), **gone})
    assert set(done.gone) == {one, bare, *gone}
    assert not done.failed
    assert set(keeper().images(HOME).images) == {two}


def test_a_tag_that_came_since_keeps_its_image(ecr: LocalEcr) -> None:
    one = image(1, "a", "b", "prod")
    done = keeper().delete(HOME, {one: ("a", "b")})
    assert (done.gone, done.failed) == ((), {one: "its tag prod has come since, and keeps it"})
    assert keeper().images(HOME).images[one].tags == ("prod",)


def test_an_image_that_is_shown_for_a_moment_longer_is_gone_all_the_same(ecr: LocalEcr) -> None:
    """ECR's lists may lag behind: what it says of each tag counts."""
    one = image(1, "a")
    shown = EcrClient().describe_images(repositoryName=HOME.name, imageIds=[{"imageDigest": one}])
    done = keeper(describe_images=lambda real: shown).delete(HOME, {one: ("a",)})
    assert (done.gone, done.failed) == ((one,), {})


def test_a_tag_that_moved_meanwhile_is_told_and_its_former_image_is_not_taken_for_gone(ecr: LocalEcr) -> None:
    one, two = image(1, "a"), image(2, "b", "prod")
    done = keeper().delete(HOME, {one: ("a", "prod")})
    assert done.failed == {one: f"its tag prod had moved to {two}, which has lost it"}


def test_what_is_gone_costs_one_call_beside_the_deletion(ecr: LocalEcr) -> None:
    images = {image(n, f"t{n}"): (f"t{n}",) for n in range(1, 26)}
    client: Any = EcrClient()
    assert len(EcrKeeper(lambda *_: client).delete(HOME, images).gone) == 25
    assert client.called == ["batch_delete_image", "batch_get_image"]


def test_more_tags_than_one_call_takes_are_several_calls(ecr: LocalEcr) -> None:
    tags = [f"t{n:03}" for n in range(150)]
    one = image(1, *tags)
    client: Any = EcrClient()
    assert EcrKeeper(lambda *_: client).delete(HOME, {one: tags}).gone == (one,)
    assert client.called.count("batch_delete_image") == 2


def test_an_image_that_an_index_needs_is_not_deleted_and_said_so(ecr: LocalEcr) -> None:
    one = image(1)
    whole = index(one)
    done = keeper().delete(HOME, {one: ()})
    assert done.gone == ()
    assert done.failed == {one: "ImageReferencedByManifestList: An index needs the image"}
    assert set(keeper().images(HOME).images) == {one, whole}


def test_what_the_answer_does_not_speak_of_is_not_taken_for_gone(ecr: LocalEcr) -> None:
    one = image(1)
    done = keeper(batch_delete_image=saying(failures=[])).delete(HOME, {one: ()})
    assert done.gone == ()
    assert done.failed == {one: "ECR's answer does not speak of it"}


def test_a_failure_without_a_reason_still_names_its_code(ecr: LocalEcr) -> None:
    one = image(1)
    failures = [{"imageId": {"imageDigest": one}, "failureCode": "KmsError"}]
    done = keeper(batch_delete_image=saying(failures=failures)).delete(HOME, {one: ()})
    assert done.failed == {one: "KmsError: no reason given"}


@pytest.mark.parametrize("number", [0, 101])
def test_more_than_a_call_takes_is_a_mistake_of_ours(number: int) -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        keeper().delete(HOME, {f"sha256:{n:064x}": () for n in range(number)})


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", TransientError),
        ("AccessDeniedException", DeniedError),
        ("RepositoryNotFoundException", AbsentError),
        ("InvalidParameterException", UpstreamError),
    ],
)
@pytest.mark.parametrize("call", ["batch_get_image", "batch_delete_image"])
def test_what_aws_refuses_is_told_apart(ecr: LocalEcr, call: str, code: str, error: type) -> None:
    one = image(1)
    asked = keeper(**{call: refused(code)})
    with pytest.raises(UpstreamError) as raised:
        asked.insides(HOME, [one]) if call == "batch_get_image" else asked.delete(HOME, {one: ()})
    assert type(raised.value) is error
