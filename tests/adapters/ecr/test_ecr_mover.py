"""Images moved and brought back on the local ECR, with real layers: what is so at the end, and at every moment."""

from __future__ import annotations

import copy
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.adapters.ecr import mover as ecr_mover
from chalicelib.adapters.ecr.mover import EcrMover
from chalicelib.adapters.ecr.quarantine_lock import NO_ROLES
from chalicelib.domain.enforcement.repository_policy import has_statement
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.quarantine_place import bare_mark, kept_tag, place_of
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.local.ecr import blobs as ecr_blobs
from chalicelib.local.ecr.blobs import blobs_of
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from chalicelib.local.ecr.push_image import Pusher
from tests.fakes.watched_ecr import Died, Failing, Fault, WatchedEcr
from tests.local import samples
from tests.local.running import local_aws

ADAPTERS = Path(ecr_mover.__file__).parents[1]
HOME = samples.ref().home
PLACE = place_of(HOME)
ROLES = ("arn:aws:iam::111122223333:role/lazaretto-dev-on_actions",)
SIGNATURE, SBOM = "application/vnd.cncf.notary.signature", "application/spdx+json"


@pytest.fixture(scope="module")
def running():
    with local_aws() as aws:
        yield aws


class Anything:
    """Every tag there may be is known."""

    def __contains__(self, tag: str) -> bool:
        return True


ANY = Anything()


class Registry:
    """One source repository and what was pushed into it; `mover` moves through a watched client."""

    def __init__(self) -> None:
        self.client = boto3.client("ecr")
        self.ecr = ecr_of(HOME)
        self.ecr.repositories.clear()
        self.ecr._bytes.clear()
        self.client.create_repository(repositoryName=HOME.name, imageTagMutability="MUTABLE")
        self.push = Pusher(self.client, HOME)
        self.watched = WatchedEcr(self.client, self.nothing_is_lost)
        self.seconds = 0.0
        self.known: set[str] = set()
        self.mover = self.moving()

    def moving(self, deadline_seconds: float = 40, part_bytes: int = 16) -> EcrMover:
        return EcrMover(lambda *_: self.watched, ROLES, deadline_seconds, lambda: self.seconds, part_bytes)

    def held(self, home: Repository = HOME) -> dict[str, tuple[str, str, tuple[str, ...]]]:
        """Manifest, its media type and its tags, by digest."""
        images = self.ecr.repositories[home.name].images if home.name in self.ecr.repositories else []
        return {
            i.image_digest: (i.image_manifest, i.image_manifest_media_type, tuple(sorted(i.image_tags))) for i in images
        }

    def watch(self) -> None:
        """From now on each image that is there now must always be whole somewhere."""
        self.known = set(self.held())
        self.nothing_is_lost()

    def nothing_is_lost(self) -> None:
        for digest in self.known:
            assert self.is_whole(digest, HOME) or self.is_whole(digest, PLACE), f"{digest} is lost"

    def is_whole(self, digest: str, home: Repository) -> bool:
        found = self.held(home).get(digest)
        return found is not None and blobs_of(found[0]) <= self.ecr.repositories[home.name].layers.keys()

    def save(self):
        return copy.deepcopy((self.ecr.repositories, self.ecr._bytes))

    def restore(self, saved) -> None:
        self.ecr.repositories, self.ecr._bytes = copy.deepcopy(saved)
        self.watched.calls.clear()
        self.watched.faults.clear()


@pytest.fixture
def registry(running, monkeypatch):
    monkeypatch.setattr(LocalEcr, "least_part_bytes", 16)
    return Registry()


def layer(name: str, size: int = 40) -> bytes:
    return (name * size).encode()[:size]


class Shared(SimpleNamespace):
    """An index of two children, one of which another index needs; a signature, an SBOM that is signed itself, and one
    of a child. Everything shares layers."""


def shared_index(registry) -> Shared:
    push = registry.push
    amd = push.image([layer("base"), layer("amd")], (), b'{"arch":"amd64"}')
    arm = push.image([layer("base"), layer("arm")], (), b'{"arch":"arm64"}')
    index = push.index({"linux/amd64": amd, "linux/arm64": arm}, ["1.0", "latest"])
    other = push.index({"linux/arm64": arm}, ["arm-only"])
    signature = push.referrer(index, SIGNATURE, b"signed")
    sbom = push.referrer(index, SBOM, b"parts", ["sbom-1.0"])
    of_sbom = push.referrer(sbom, SIGNATURE, b"signed parts")
    of_arm = push.referrer(arm, SBOM, b"parts of arm")
    found = Shared(amd=amd, arm=arm, index=index, other=other, staying={arm, other, of_arm})
    found.going = {amd, index, signature, sbom, of_sbom}
    found.copied = found.going | {arm, of_arm}
    registry.watch()
    return found


def its_own(referrer, tag) -> bool:
    """Nobody else has had it."""
    return True


def digests(refs) -> set[str]:
    return {ref.digest for ref in refs}


# ---- what a move does


def test_an_image_is_in_its_locked_place_byte_for_byte_and_no_longer_where_it_was(registry):
    image = registry.push.image([layer("base"), layer("app")], ["1.0", "latest"])
    manifest = registry.held()[image.digest][0]
    registry.watch()
    registry.mover.move(image, PLACE, [], ANY)
    assert registry.held() == {}
    kept = tuple(sorted(kept_tag(image.digest, tag) for tag in ("1.0", "latest")))
    assert registry.held(PLACE)[image.digest] == (manifest, "application/vnd.oci.image.manifest.v1+json", kept)
    place = registry.ecr.repositories[PLACE.name]
    assert place.image_tag_mutability == "IMMUTABLE"
    assert has_statement(place.policy)
    assert ROLES[0] in place.policy


def test_an_index_goes_with_its_own_children_and_all_that_refers_to_them(registry):
    them = shared_index(registry)
    before = registry.held()
    registry.mover.move(them.index, PLACE, [them.amd], ANY)
    assert registry.held() == {d: before[d] for d in digests(them.staying)}
    assert registry.held(PLACE).keys() == digests(them.copied)
    assert all(registry.is_whole(digest, PLACE) for digest in digests(them.copied))


def test_a_child_that_another_index_needs_stays_whatever_the_caller_says(registry):
    them = shared_index(registry)
    registry.mover.move(them.index, PLACE, [them.amd, them.arm], ANY)
    assert registry.held().keys() == digests(them.staying)
    assert registry.is_whole(them.arm.digest, HOME)


def test_a_child_with_a_tag_of_its_own_stays_with_it_though_only_its_index_needs_it(registry):
    push = registry.push
    tagged = push.image([layer("base"), layer("amd")], ["1.0-amd64"], b'{"arch":"amd64"}')
    bare = push.image([layer("base"), layer("arm")], (), b'{"arch":"arm64"}')
    index = push.index({"linux/amd64": tagged, "linux/arm64": bare}, ["1.0"])
    registry.watch()
    registry.mover.move(index, PLACE, [tagged, bare], ANY)
    assert {digest: held[2] for digest, held in registry.held().items()} == {tagged.digest: ("1.0-amd64",)}
    assert registry.held(PLACE).keys() == digests([index, tagged, bare])


def test_moving_and_bringing_back_gives_what_was_there(registry):
    them = shared_index(registry)
    before = registry.held()
    registry.mover.move(them.index, PLACE, [them.amd], ANY)
    registry.mover.bring_back(them.index, PLACE, ["1.0", "latest"], its_own)
    assert registry.held() == before
    assert all(registry.is_whole(digest, HOME) for digest in before)
    assert registry.held(PLACE).keys() == digests(them.copied)


def test_what_was_brought_back_can_be_moved_again_without_copying_it_again(registry):
    them = shared_index(registry)
    registry.mover.move(them.index, PLACE, [them.amd], ANY)
    registry.mover.bring_back(them.index, PLACE, ["1.0", "latest"], its_own)
    registry.watched.calls.clear()
    registry.mover.move(them.index, PLACE, [them.amd], ANY)
    assert not registry.held().keys() & digests(them.going)
    assert not {"upload_layer_part", "put_image"} & set(registry.watched.calls)


def test_nothing_in_the_place_is_without_a_tag(registry):
    them = shared_index(registry)
    registry.mover.move(them.index, PLACE, [them.amd], ANY)
    tags = {digest: held[2] for digest, held in registry.held(PLACE).items()}
    assert all(tags.values())
    assert tags[them.arm.digest] == (bare_mark(them.arm.digest),)


def test_moving_and_bringing_back_what_is_so_already_is_success(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    registry.watch()
    for _ in range(2):
        registry.mover.move(image, PLACE, [], ANY)
        assert registry.held() == {}
    before = registry.held(PLACE)
    for _ in range(2):
        registry.mover.bring_back(image, PLACE, ["1.0"], its_own)
        assert registry.held()[image.digest][2] == ("1.0",)
    assert registry.held(PLACE) == before


def test_all_pages_of_referrers_are_moved(registry, monkeypatch):
    monkeypatch.setattr(ecr_blobs, "LONGEST_PAGE", 2)
    image = registry.push.image([layer("app")])
    for n in range(5):
        registry.push.referrer(image, SIGNATURE, f"signature {n}".encode())
    registry.watch()
    registry.mover.move(image, PLACE, [], ANY)
    assert registry.held() == {}
    assert len(registry.held(PLACE)) == 6


def test_a_layer_is_sent_in_parts_as_long_as_ecr_takes_them(registry):
    image = registry.push.image([layer("abcdefg", 100)])
    registry.watch()
    sent = []
    registry.watched.before = lambda name, request: sent.append(request) if name == "upload_layer_part" else None
    registry.mover.move(image, PLACE, [], ANY)
    blob = [(r["partFirstByte"], r["partLastByte"]) for r in sent if r["uploadId"] == sent[-1]["uploadId"]]
    assert blob == [(first, min(first + 15, 99)) for first in range(0, 100, 16)]
    assert registry.is_whole(image.digest, PLACE)


def test_parts_are_no_longer_than_ecr_says(registry, monkeypatch):
    monkeypatch.setattr("moto.ecr.models.DEFAULT_LAYER_PART_SIZE", 20)
    image = registry.push.image([layer("abc", 50)])
    registry.watch()
    sent = []
    registry.watched.before = lambda name, request: sent.append(request) if name == "upload_layer_part" else None
    registry.moving(part_bytes=64).move(image, PLACE, [], ANY)
    assert max(len(r["layerPartBlob"]) for r in sent) == 20


def test_windows_base_layers_that_no_registry_has_are_not_asked_for(registry):
    own = registry.push._blob(layer("app"), "application/vnd.docker.image.rootfs.diff.tar.gzip")
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": f"sha256:{'f' * 64}",
        "size": 1_700_000_000,
        "urls": ["https://example.invalid/base"],
    }
    config = registry.push._blob(b"{}", "application/vnd.docker.container.image.v1+json")
    body = {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "config": config}
    image = registry.push._put({**body, "layers": [foreign, own]}, ["ltsc"])
    before = registry.held()
    registry.watch()
    registry.mover.move(image, PLACE, [], ANY)
    assert registry.held() == {}
    registry.mover.bring_back(image, PLACE, ["ltsc"], its_own)
    assert registry.held() == before


def test_an_image_that_got_a_new_tag_meanwhile_is_kept_with_it(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    registry.watch()
    registry.watched.faults.append(Fault("batch_delete_image", 0, Failing.THROTTLED))
    with pytest.raises(TransientError):
        registry.mover.move(image, PLACE, [], ANY)
    registry.push.image([layer("app")], ["1.1"])
    registry.mover.move(image, PLACE, [], ANY)
    assert registry.held(PLACE)[image.digest][2] == tuple(kept_tag(image.digest, t) for t in ("1.0", "1.1"))


@pytest.mark.parametrize("operation", ["describe_images", "batch_check_layer_availability"])
def test_an_image_that_got_a_tag_nobody_knows_of_is_left_until_they_do(registry, operation):
    """Nobody would give it back. The place has it of an earlier move: that it lacks nothing proves nothing."""
    image = registry.push.image([layer("app")], ["1.0", "1.1"])
    registry.mover.move(image, PLACE, [], ["1.0", "1.1"])
    registry.mover.bring_back(image, PLACE, ["1.0"], its_own)
    registry.watch()

    def push(called, request):
        if called == operation:
            registry.watched.before = lambda *_: None
            registry.push.image([layer("app")], ["1.1"])

    registry.watched.before = push
    registry.watched.calls.clear()
    with pytest.raises(TransientError, match=r"got the tag 1\.1 meanwhile; nothing is deleted") as error:
        registry.mover.move(image, PLACE, [], ["1.0"])
    assert error.value.retry_after_seconds == 5
    assert "batch_delete_image" not in registry.watched.calls
    assert registry.held()[image.digest][2] == ("1.0", "1.1")
    registry.mover.move(image, PLACE, [], ["1.0", "1.1"])
    assert registry.held() == {}


@pytest.mark.parametrize("what", ["tag", "referrer"])
def test_what_is_pushed_while_the_image_is_copied_is_copied_before_anything_is_deleted(registry, what):
    image = registry.push.image([layer("app")], ["1.0"])
    before = set(registry.held())

    def push(operation, request):
        if operation == "put_image":
            registry.watched.before = lambda *_: None
            if what == "tag":
                registry.push.image([layer("app")], ["1.1"])
            else:
                registry.push.referrer(image, SIGNATURE, b"signed")
            registry.watch()

    registry.watched.before = push
    with pytest.raises(TransientError, match=r"lacks the (tag|manifest) .*; nothing is deleted") as error:
        registry.mover.move(image, PLACE, [], ANY)
    assert error.value.retry_after_seconds == 5
    assert set(registry.held()) >= before
    assert "batch_delete_image" not in registry.watched.calls
    registry.mover.move(image, PLACE, [], ANY)
    assert registry.held() == {}
    assert len(registry.held(PLACE)) == len(registry.known)
    assert (kept_tag(image.digest, "1.1") in registry.held(PLACE)[image.digest][2]) is (what == "tag")


def test_an_image_that_somebody_deletes_while_it_is_copied_is_moved(registry):
    image = registry.push.image([layer("app")], ["1.0"])

    def delete(operation, request):
        if operation == "put_image":
            registry.client.batch_delete_image(repositoryName=HOME.name, imageIds=[{"imageDigest": image.digest}])

    registry.watched.before = delete
    registry.mover.move(image, PLACE, [], ANY)
    assert "batch_delete_image" not in registry.watched.calls
    assert registry.is_whole(image.digest, PLACE)


def test_only_digests_are_deleted_and_only_at_the_source(registry):
    them = shared_index(registry)
    deleted = []
    registry.watched.before = lambda name, request: deleted.append(request) if name == "batch_delete_image" else None
    registry.mover.move(them.index, PLACE, [them.amd], ANY)
    registry.mover.bring_back(them.index, PLACE, ["1.0", "latest"], its_own)
    assert {request["repositoryName"] for request in deleted} == {HOME.name}
    assert {tuple(request["imageIds"][0]) for request in deleted} == {("imageDigest",)}
    assert {request["imageIds"][0]["imageDigest"] for request in deleted} == digests(them.going)


def test_two_workers_that_move_the_same_image_at_once_both_end_right(registry, extent):
    """The second comes in before a call of the first, does all of its work, and leaves."""
    them = small_index(registry)
    start = registry.save()
    registry.mover.move(them.index, PLACE, [them.own], ANY)
    moved, in_place, calls = registry.held(), registry.held(PLACE), list(registry.watched.calls)
    for nth in extent.calls([n for n, name in enumerate(calls) if name in CHANGING or n == calls.index(name)]):
        registry.restore(start)
        second = EcrMover(lambda *_: registry.client, ROLES, 40, part_bytes=16)

        def come_in(operation, request, nth=nth, second=second):
            if len(registry.watched.calls) == nth + 1:
                second.move(them.index, PLACE, [them.own], ANY)

        registry.watched.before = come_in
        with suppress(UpstreamError):
            registry.mover.move(them.index, PLACE, [them.own], ANY)
        registry.watched.before = lambda *_: None
        registry.nothing_is_lost()
        assert (registry.held(), registry.held(PLACE)) == (moved, in_place), nth


def test_no_other_module_can_delete_an_image():
    """`ecr_acts` takes tags away, by tag alone, and never the last one; `ecr_keeper` expires what retention takes."""
    sources = {path.name: path.read_text() for path in ADAPTERS.rglob("*.py")}
    assert {name for name, text in sources.items() if "batch_delete_image" in text} == {
        "ecr_acts.py",
        "ecr_images.py",
        "ecr_keeper.py",
    }
    assert {name for name, text in sources.items() if "images.delete(" in text} == {"ecr_mover.py"}


# ---- tags that are given back


@pytest.mark.parametrize("mutability", ["MUTABLE", "IMMUTABLE"])
def test_a_tag_that_points_elsewhere_by_now_is_left_there(registry, mutability):
    image = registry.push.image([layer("app")], ["1.0", "latest"])
    registry.watch()
    registry.mover.move(image, PLACE, [], ANY)
    newer = registry.push.image([layer("newer")], ["latest"])
    registry.ecr.repositories[HOME.name].image_tag_mutability = mutability
    registry.mover.bring_back(image, PLACE, ["1.0", "latest"], its_own)
    assert registry.held()[image.digest][2] == ("1.0",)
    assert registry.held()[newer.digest][2] == ("latest",)


def test_a_tag_that_is_taken_while_the_image_is_copied_back_is_left_there(registry):
    image = registry.push.image([layer("app")], ["1.0", "latest"])
    registry.watch()
    registry.mover.move(image, PLACE, [], ANY)
    newer = []

    def push(operation, request):
        if operation == "complete_layer_upload" and not newer:
            newer.append(registry.push.image([layer("newer")], ["latest"]))

    registry.watched.before = push
    registry.mover.bring_back(image, PLACE, ["1.0", "latest"], its_own)
    assert registry.held()[image.digest][2] == ("1.0",)
    assert registry.held()[newer[0].digest][2] == ("latest",)


def test_an_image_all_of_whose_tags_are_taken_comes_back_without(registry):
    image = registry.push.image([layer("app")], ["latest"])
    registry.watch()
    registry.mover.move(image, PLACE, [], ANY)
    registry.push.image([layer("newer")], ["latest"])
    registry.mover.bring_back(image, PLACE, ["latest"], its_own)
    assert registry.held()[image.digest][2] == ()


def test_a_child_gets_none_of_the_tags_it_was_moved_with_before_it_went_along(registry):
    """It had one once, was moved by itself and came back; then the tag named another image, which lost it as well."""
    child = registry.push.image([layer("app")], ["stable"])
    registry.mover.move(child, PLACE, [], ANY)
    registry.mover.bring_back(child, PLACE, ["stable"], its_own)
    other = registry.push.image([layer("newer")], ["stable", "2.0"])
    index = registry.push.index({"linux/amd64": child}, ["1.0"])
    registry.watch()
    registry.mover.move(index, PLACE, [child], ANY)
    registry.client.batch_delete_image(repositoryName=HOME.name, imageIds=[{"imageTag": "stable"}])
    registry.mover.bring_back(index, PLACE, ["1.0"], its_own)
    assert {digest: held[2] for digest, held in registry.held().items()} == {
        child.digest: (),
        index.digest: ("1.0",),
        other.digest: ("2.0",),
    }


def test_what_refers_to_an_image_gets_its_tags_but_for_those_that_are_no_longer_its(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    sbom = registry.push.referrer(image, SBOM, b"parts", ["sbom", "sbom-1.0"])
    registry.watch()
    registry.mover.move(image, PLACE, [], ANY)
    registry.mover.bring_back(image, PLACE, ["1.0"], lambda referrer, tag: (referrer, tag) != (sbom, "sbom"))
    assert registry.held()[sbom.digest][2] == ("sbom-1.0",)


# ---- what cannot be moved


def nothing_was_deleted(registry, before) -> bool:
    return registry.held() == before and "batch_delete_image" not in registry.watched.calls


@pytest.mark.parametrize("broken", [lambda b: b[:-1] + b"!", lambda b: b[:-1], lambda b: b + b"!"])
def test_a_layer_that_is_read_otherwise_than_its_digest_says_deletes_nothing(registry, monkeypatch, broken):
    image = registry.push.image([layer("app", 100)], ["1.0"])
    before = registry.held()
    whole = LocalEcr.blob
    monkeypatch.setattr(LocalEcr, "blob", lambda self, name, digest: broken(whole(self, name, digest)))
    with pytest.raises(UpstreamError, match=r"the layer sha256:\w+ of .* is read as sha256:"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)
    assert "complete_layer_upload" not in registry.watched.calls


def test_an_image_whose_manifest_does_not_have_its_digest_is_not_moved(registry):
    image = samples.ref()
    samples.hold(image, "1.0.0")
    before = registry.held()
    with pytest.raises(UpstreamError, match="does not have this digest"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)


@pytest.mark.parametrize("which", ["image", "referrer"])
def test_what_is_archived_is_not_moved(registry, which):
    image = registry.push.image([layer("app")], ["1.0"])
    referrer = registry.push.referrer(image, SIGNATURE, b"signed")
    archived = image if which == "image" else referrer
    registry.client.update_image_storage_class(
        repositoryName=HOME.name, imageId={"imageDigest": archived.digest}, targetStorageClass="ARCHIVE"
    )
    before = registry.held()
    with pytest.raises(UpstreamError, match=f"{archived.digest} is archived"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)


def test_an_archived_image_whose_copy_is_complete_is_not_taken_for_moved(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    registry.mover.move(image, PLACE, [], ANY)
    registry.mover.bring_back(image, PLACE, ["1.0"], its_own)
    registry.client.update_image_storage_class(
        repositoryName=HOME.name, imageId={"imageDigest": image.digest}, targetStorageClass="ARCHIVE"
    )
    with pytest.raises(UpstreamError, match="archived"):
        registry.mover.move(image, PLACE, [], ANY)


def test_a_child_alone_is_not_deleted_from_under_its_index(registry):
    them = shared_index(registry)
    before = registry.held()
    with pytest.raises(UpstreamError, match="an index of its repository still needs it"):
        registry.mover.move(them.amd, PLACE, [], ANY)
    assert registry.held() == before


def test_an_image_that_is_nowhere_is_absent(registry):
    with pytest.raises(AbsentError) as error:
        registry.mover.move(samples.ref(), PLACE, [], ANY)
    assert error.value.what == "image"
    assert PLACE.name not in registry.ecr.repositories
    with pytest.raises(AbsentError):
        registry.mover.bring_back(samples.ref(), PLACE, [], its_own)


def test_a_source_that_is_gone_with_a_copy_that_is_not_whole_is_an_error(registry):
    them = shared_index(registry)
    registry.mover.move(them.index, PLACE, [them.amd], ANY)
    registry.known.clear()
    place = registry.ecr.repositories[PLACE.name]
    place.images = [image for image in place.images if image.image_digest != them.amd.digest]
    for act in (
        lambda: registry.mover.move(them.index, PLACE, [them.amd], ANY),
        lambda: registry.mover.bring_back(them.index, PLACE, [], its_own),
    ):
        with pytest.raises(UpstreamError, match=them.amd.digest):
            act()


def test_a_copy_that_lacks_a_layer_keeps_the_source(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    before = registry.held()

    def lose(operation, request):
        if operation == "batch_get_image" and request["repositoryName"] == PLACE.name:
            registry.ecr.repositories[PLACE.name].layers.clear()

    registry.watched.before = lose
    with pytest.raises(UpstreamError, match=r"lacks the layer sha256:\w+, the layer sha256:\w+; nothing is deleted"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)


def test_a_layer_of_another_size_keeps_the_source(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    before = registry.held()

    def shrink(operation, request):
        if operation == "batch_get_image" and request["repositoryName"] == PLACE.name:
            layers = registry.ecr.repositories[PLACE.name].layers
            layers.update(dict.fromkeys(layers, 1))

    registry.watched.before = shrink
    with pytest.raises(UpstreamError, match=r"lacks the layer sha256:\w+ of \d+ bytes \(there it has 1\); nothing"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)


def test_a_tag_of_the_place_that_somebody_else_has_taken_keeps_the_source(registry):
    first, image = registry.push.image([layer("first")]), registry.push.image([layer("app")], ["1.0"])
    registry.mover.move(first, PLACE, [], ANY)
    stranger = registry.ecr.find(registry.ecr.repositories[PLACE.name], first.digest)
    registry.ecr.tag_image(stranger, kept_tag(image.digest, "1.0"))
    before = registry.held()
    registry.watched.calls.clear()
    with pytest.raises(UpstreamError, match="ImageTagAlreadyExistsException"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)


def test_an_image_comes_not_back_to_a_repository_that_is_gone(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    registry.mover.move(image, PLACE, [], ANY)
    del registry.ecr.repositories[HOME.name]
    with pytest.raises(AbsentError) as error:
        registry.mover.bring_back(image, PLACE, ["1.0"], its_own)
    assert error.value.what == "repository"


@pytest.mark.parametrize(
    "place",
    [
        HOME,
        Repository(HOME.registry, HOME.region, "team/other"),
        Repository("999999999999", HOME.region, PLACE.name),
        Repository(HOME.registry, "us-east-1", PLACE.name),
    ],
)
def test_an_image_is_moved_only_into_a_quarantine_of_its_own_registry_and_region(registry, place):
    image = registry.push.image([layer("app")], ["1.0"])
    before = registry.held()
    for act in (
        lambda: registry.mover.move(image, place, [], ANY),
        lambda: registry.mover.bring_back(image, place, [], its_own),
    ):
        with pytest.raises(UpstreamError, match="cannot be moved to"):
            act()
    assert nothing_was_deleted(registry, before)
    assert registry.watched.calls == []


def test_what_lies_in_a_quarantine_is_not_moved_again(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    registry.mover.move(image, PLACE, [], ANY)
    with pytest.raises(UpstreamError, match="cannot be moved to"):
        registry.mover.move(PLACE.image(image.digest), place_of(PLACE), [], ANY)


# ---- the lock


def test_without_roles_of_our_own_nothing_is_copied(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    before = registry.held()
    mover = EcrMover(lambda *_: registry.watched, (), 40)
    with pytest.raises(UpstreamError) as error:
        mover.move(image, PLACE, [], ANY)
    assert str(error.value) == NO_ROLES
    assert nothing_was_deleted(registry, before)


@pytest.mark.parametrize("operation", ["create_repository", "set_repository_policy"])
def test_a_place_that_cannot_be_locked_gets_nothing(registry, operation):
    image = registry.push.image([layer("app")], ["1.0"])
    before = registry.held()
    registry.watched.faults.append(Fault(operation, 0, Failing.DENIED))
    with pytest.raises(DeniedError):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)
    assert registry.held(PLACE) == {}


def test_a_lock_that_somebody_takes_away_is_put_back_beside_what_else_is_there(registry):
    one, two = registry.push.image([layer("one")]), registry.push.image([layer("two")])
    registry.mover.move(one, PLACE, [], ANY)
    statement = {"Sid": "Theirs", "Effect": "Deny", "Principal": "*", "Action": ["ecr:DeleteRepository"]}
    theirs = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    registry.client.set_repository_policy(repositoryName=PLACE.name, policyText=theirs)
    registry.mover.move(two, PLACE, [], ANY)
    policy = registry.ecr.repositories[PLACE.name].policy
    assert has_statement(policy)
    assert json.loads(policy)["Statement"][0] == statement


def test_a_lock_that_is_gone_again_when_it_is_read_back_stops_the_move(registry):
    image = registry.push.image([layer("app")], ["1.0"])
    before = registry.held()

    def unlock(operation, request):
        if operation == "get_repository_policy" and PLACE.name in registry.ecr.repositories:
            registry.ecr.repositories[PLACE.name].policy = None

    registry.watched.before = unlock
    with pytest.raises(UpstreamError, match="somebody else has changed its policy"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)


def test_a_place_whose_lifecycle_policy_would_expire_the_only_copy_stops_the_move(registry):
    first, image = registry.push.image([layer("first")]), registry.push.image([layer("app")], ["1.0"])
    registry.mover.move(first, PLACE, [], ANY)
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
        "action": {"type": "expire"},
    }
    registry.client.put_lifecycle_policy(repositoryName=PLACE.name, lifecyclePolicyText=json.dumps({"rules": [rule]}))
    before = registry.held()
    registry.watched.calls.clear()
    with pytest.raises(UpstreamError, match=f"{PLACE.name} has a lifecycle policy"):
        registry.mover.move(image, PLACE, [], ANY)
    assert nothing_was_deleted(registry, before)
    registry.mover.bring_back(first, PLACE, [], its_own)
    assert first.digest in registry.held()


def test_a_place_is_encrypted_as_its_source_is(registry):
    key = "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-4000-8000-000000000001"
    registry.ecr.repositories[HOME.name].encryption_configuration = {"encryptionType": "KMS", "kmsKey": key}
    registry.mover.move(registry.push.image([layer("app")]), PLACE, [], ANY)
    place = registry.ecr.repositories[PLACE.name]
    assert place.encryption_configuration == {"encryptionType": "KMS", "kmsKey": key}


# ---- time


def slow(registry, seconds_a_part: float) -> None:
    def pass_time(operation, request):
        if operation == "upload_layer_part":
            registry.seconds += seconds_a_part

    registry.watched.before = pass_time


def test_more_than_one_call_can_copy_is_copied_by_the_next(registry):
    """Each layer takes 12 s, the config 4 s: two layers to a call of 30 s."""
    image = registry.push.image([layer(name, 40) for name in "abcde"], ["1.0"])
    registry.watch()
    slow(registry, 4)
    mover = registry.moving(deadline_seconds=30)
    for copied in ("82 of 202", "162 of 202"):
        with pytest.raises(TransientError, match=f"{copied} bytes copied so far; goes on") as error:
            mover.move(image, PLACE, [], ANY)
        assert error.value.retry_after_seconds == 5
        assert registry.held()
    mover.move(image, PLACE, [], ANY)
    assert registry.held() == {}
    assert registry.is_whole(image.digest, PLACE)


def test_a_layer_that_no_call_can_copy_says_so_and_deletes_nothing(registry):
    image = registry.push.image([layer("small", 10), layer("large", 100)], ["1.0"])
    before = registry.held()
    slow(registry, 4)
    mover = registry.moving(deadline_seconds=20)
    with pytest.raises(TransientError):
        mover.move(image, PLACE, [], ANY)
    with pytest.raises(UpstreamError, match=r"of 100 bytes cannot be copied within the 20 s of one call") as error:
        mover.move(image, PLACE, [], ANY)
    assert not isinstance(error.value, TransientError)
    assert nothing_was_deleted(registry, before)


def test_a_layer_that_was_begun_late_because_aws_was_slow_is_not_called_too_large(registry):
    image = registry.push.image([layer("app", 40)], ["1.0"])
    registry.watched.before = lambda operation, request: setattr(registry, "seconds", registry.seconds + 2)
    with pytest.raises(TransientError):
        registry.moving(deadline_seconds=14).move(image, PLACE, [], ANY)


def test_more_tags_than_one_call_can_put_are_put_by_the_next(registry):
    image = registry.push.image([layer("app")], [f"1.{n}" for n in range(30)])
    registry.watch()

    def pass_time(operation, request):
        registry.seconds += operation == "put_image"

    registry.watched.before = pass_time
    mover = registry.moving(deadline_seconds=20)
    with pytest.raises(TransientError, match="goes on"):
        mover.move(image, PLACE, [], ANY)
    mover.move(image, PLACE, [], ANY)
    assert registry.held() == {}
    with pytest.raises(TransientError, match="not all of its tags are given back yet; goes on"):
        mover.bring_back(image, PLACE, [f"1.{n}" for n in range(30)], its_own)
    mover.bring_back(image, PLACE, [f"1.{n}" for n in range(30)], its_own)
    assert len(registry.held()[image.digest][2]) == 30


# ---- failures


CHANGING = ("batch_delete_image", "complete_layer_upload", "create_repository", "put_image", "set_repository_policy")


def small_index(registry) -> Shared:
    """An index of a child of its own and one that another index needs, with a signature."""
    push = registry.push
    own, shared = push.image([layer("own", 20)]), push.image([layer("shared", 20)])
    index = push.index({"linux/amd64": own, "linux/arm64": shared}, ["1.0", "latest"])
    push.index({"linux/arm64": shared}, ["other"])
    push.referrer(index, SIGNATURE, b"signed")
    registry.watch()
    return Shared(own=own, index=index)


def operations_of(registry, act) -> Counter:
    registry.watched.calls.clear()
    act()
    return Counter(registry.watched.calls)


def faults(counts: Counter, how: Failing) -> list[Fault]:
    """At the first call of each operation. To die after a call that changes something is another thing each time."""
    first = [Fault(name, 0, how) for name in counts]
    if how is not Failing.DIED_AFTER:
        return first
    return first + [Fault(name, n, how) for name in counts if name in CHANGING for n in range(1, counts[name])]


def go_on(registry, act) -> None:
    """As the queue does: again and again until it is done."""
    for _ in range(5):
        try:
            act()
        except (UpstreamError, Died):
            registry.watched.calls.clear()
        else:
            return
    raise AssertionError("it does not end")


@pytest.mark.parametrize("how", Failing)
@pytest.mark.parametrize("act", ["move", "bring back"])
def test_a_failure_at_any_call_loses_nothing_and_the_next_call_ends_right(registry, extent, record_property, act, how):
    them = small_index(registry)
    at_home, begun = registry.held(), registry.save()
    registry.mover.move(them.index, PLACE, [them.own], ANY)
    moved, in_place = registry.held(), registry.held(PLACE)

    def run() -> None:
        if act == "move":
            registry.mover.move(them.index, PLACE, [them.own], ANY)
        else:
            registry.mover.bring_back(them.index, PLACE, ["1.0", "latest"], its_own)

    start, end = (begun, moved) if act == "move" else (registry.save(), at_home)
    registry.restore(start)
    tried = extent.calls(faults(operations_of(registry, run), how))
    for fault in tried:
        registry.restore(start)
        registry.watched.faults.append(fault)
        go_on(registry, run)
        assert not registry.watched.faults, f"{fault} did not happen"
        assert registry.held() == end, fault
        assert registry.held(PLACE) == in_place, fault
    operations = len({fault.operation for fault in tried})
    record_property("counted", f"{act}, {how}: {len(tried)} times at {operations} operations of ECR, nothing lost")


@pytest.mark.parametrize("how", [Failing.THROTTLED, Failing.DENIED])
def test_a_refused_call_is_an_error_of_its_kind(registry, how):
    image = registry.push.image([layer("app")], ["1.0"])
    start = registry.save()
    names = operations_of(registry, lambda: registry.mover.move(image, PLACE, [], ANY))
    assert len(names) == 15
    for name in names:
        registry.restore(start)
        registry.watched.faults.append(Fault(name, 0, how))
        with pytest.raises(TransientError if how is Failing.THROTTLED else DeniedError):
            registry.mover.move(image, PLACE, [], ANY)
        assert registry.held(), name


STEPS = st.one_of(
    st.tuples(st.sampled_from(["move", "bring back", "push again"]), st.none()),
    st.tuples(
        st.sampled_from(["move", "bring back"]),
        st.builds(
            Fault,
            st.sampled_from(
                ["batch_delete_image", "put_image", "complete_layer_upload", "batch_get_image", "describe_images"]
            ),
            st.integers(0, 6),
            st.sampled_from(Failing),
        ),
    ),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=6))
def test_whatever_happens_every_manifest_is_whole_somewhere(registry, steps):
    registry.__init__()
    them = small_index(registry)
    before = registry.held()
    for step, fault in steps:
        registry.watched.calls.clear()
        registry.watched.faults[:] = [fault] if fault else []
        try:
            if step == "move":
                registry.mover.move(them.index, PLACE, [them.own], ANY)
            elif step == "bring back":
                registry.mover.bring_back(them.index, PLACE, ["1.0", "latest"], its_own)
            else:
                registry.push.image([layer("own", 20)])
        except (UpstreamError, Died):
            pass
        except registry.client.exceptions.ImageAlreadyExistsException:
            assert step == "push again"
    registry.watched.faults.clear()
    go_on(registry, lambda: registry.mover.move(them.index, PLACE, [them.own], ANY))
    assert not registry.held().keys() & digests({them.index, them.own})
    go_on(registry, lambda: registry.mover.bring_back(them.index, PLACE, ["1.0", "latest"], its_own))
    assert registry.held() == before
