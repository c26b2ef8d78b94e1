"""ECR changed: what is so already is success, what may not be is said, and no image is ever deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from chalicelib.adapters.ecr.acts import EcrActs
from chalicelib.domain.enforcement.repository_policy import has_statement, with_statement
from chalicelib.domain.images.image import PUBLIC_REGION, Repository
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.local.ecr.ecr import LocalEcr
from tests.adapters.local_ecr import EcrClient, refused
from tests.fakes.policies import ROLE, statement
from tests.local import samples

IMAGE, OTHER = samples.ref(), samples.ref(digit="b")
HOME = IMAGE.home
NOT_SUPPORTED = "ImageStorageClassUpdateNotSupportedException"


def acts(**answers: Any) -> EcrActs:
    client: Any = EcrClient(**answers)
    return EcrActs(lambda *_: client)


def tags(ecr: LocalEcr, digest: str = IMAGE.digest) -> set[str] | None:
    """None: the image is gone."""
    held = ecr.find(ecr.home(HOME.name), digest=digest)
    return None if held is None else set(held.image_tags)


CHANGES: list[tuple[str, Callable[[EcrActs], object]]] = [
    ("update_image_storage_class", lambda a: a.archive(IMAGE)),
    ("update_image_storage_class", lambda a: a.restore(IMAGE)),
    ("batch_get_image", lambda a: a.put_tag(IMAGE, "x")),
    ("put_image", lambda a: a.put_tag(IMAGE, "x")),
    ("describe_images", lambda a: a.remove_tag(IMAGE, "1.0.0")),
    ("batch_delete_image", lambda a: a.remove_tag(IMAGE, "1.0.0")),
    ("describe_repositories", lambda a: a.tags_are_immutable(HOME)),
    ("get_repository_policy", lambda a: a.read_policy(HOME)),
    ("set_repository_policy", lambda a: a.write_policy(HOME, "{}")),
    ("delete_repository_policy", lambda a: a.delete_policy(HOME)),
]


@pytest.mark.parametrize(("call", "change"), CHANGES)
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", TransientError),
        ("ServerException", TransientError),
        ("AccessDeniedException", DeniedError),
        ("RepositoryNotFoundException", AbsentError),
        ("InvalidParameterException", UpstreamError),
    ],
)
def test_whatever_aws_refuses_is_told_apart(ecr: LocalEcr, call: str, change: Any, code: str, error: type) -> None:
    samples.hold(IMAGE, "1.0.0", "latest")
    with pytest.raises(UpstreamError) as raised:
        change(acts(**{call: refused(code)}))
    assert type(raised.value) is error


class TestStorageClasses:
    def test_an_image_is_archived_and_restored_and_both_twice(self, ecr: LocalEcr) -> None:
        held = samples.hold(IMAGE, "1.0.0")
        for change, status in ((acts().archive, "ARCHIVED"), (acts().restore, "ACTIVE")):
            change(IMAGE)
            change(IMAGE)
            assert held.status == status

    @pytest.mark.parametrize(
        ("status", "act", "error"),
        [
            ("ARCHIVED", "archive", None),
            ("ACTIVATING", "archive", TransientError),
            ("ACTIVE", "archive", UpstreamError),
            ("ACTIVE", "restore", None),
            ("ACTIVATING", "restore", None),
            ("ARCHIVED", "restore", UpstreamError),
        ],
    )
    def test_not_supported_is_success_where_it_is_so_already(
        self, ecr: LocalEcr, status: str, act: str, error: type[UpstreamError] | None
    ) -> None:
        samples.hold(IMAGE).status = status
        change = getattr(acts(update_image_storage_class=refused(NOT_SUPPORTED)), act)
        if error is None:
            change(IMAGE)
            return
        with pytest.raises(UpstreamError) as raised:
            change(IMAGE)
        assert type(raised.value) is error

    def test_an_image_that_is_gone_is_absent(self, ecr: LocalEcr) -> None:
        samples.hold(OTHER)
        for change in (acts().archive, acts().restore):
            with pytest.raises(AbsentError) as raised:
                change(IMAGE)
            assert raised.value.what == "image"


class TestPutTag:
    def test_a_tag_is_put_on_by_the_very_same_manifest(self, ecr: LocalEcr) -> None:
        held = samples.hold(IMAGE, "1.0.0")
        manifest = held.image_manifest
        for _ in range(2):
            acts().put_tag(IMAGE, "lazaretto-quarantine-aaaaaaaaaaaa")
        assert tags(ecr) == {"1.0.0", "lazaretto-quarantine-aaaaaaaaaaaa"}
        assert (held.image_manifest, len(ecr.home(HOME.name).images)) == (manifest, 1)

    def test_manifest_media_type_and_digest_go_along(self, ecr: LocalEcr) -> None:
        held, sent = samples.hold(IMAGE), dict[str, Any]()
        client: Any = EcrClient()
        real = boto3.client("ecr", samples.REGION)
        client.put_image = lambda **given: sent.update(given) or real.put_image(**given)
        EcrActs(lambda *_: client).put_tag(IMAGE, "x")
        assert sent["imageManifest"] == held.image_manifest
        assert (sent["imageManifestMediaType"], sent["imageDigest"]) == (held.image_manifest_media_type, IMAGE.digest)

    def test_a_tag_of_another_image_moves(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE), samples.hold(OTHER, "latest", "2.0.0")
        acts().put_tag(IMAGE, "latest")
        assert (tags(ecr), tags(ecr, OTHER.digest)) == ({"latest"}, {"2.0.0"})

    def test_a_tag_that_another_image_has_stays_there_where_tags_are_immutable(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE), samples.hold(OTHER, "latest")
        ecr.home(HOME.name).image_tag_mutability = "IMMUTABLE"
        with pytest.raises(UpstreamError, match=r"latest.*immutable tags"):
            acts().put_tag(IMAGE, "latest")
        assert tags(ecr, OTHER.digest) == {"latest"}
        acts().put_tag(IMAGE, "new")
        assert tags(ecr) == {"new"}

    def test_an_immutable_tag_that_is_there_already_is_there(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "latest")
        acts(put_image=refused("ImageTagAlreadyExistsException")).put_tag(IMAGE, "latest")

    @pytest.mark.parametrize(
        ("status", "error", "why"),
        [("ARCHIVED", UpstreamError, "archived"), ("ACTIVATING", TransientError, "restoring")],
    )
    def test_an_archived_image_is_not_taken_for_one_that_is_gone(
        self, ecr: LocalEcr, status: str, error: type, why: str
    ) -> None:
        samples.hold(IMAGE, "1.0.0").status = status
        with pytest.raises(error, match=why) as raised:
            acts().put_tag(IMAGE, "x")
        assert not isinstance(raised.value, AbsentError)

    def test_one_that_is_gone_is_absent(self, ecr: LocalEcr) -> None:
        samples.hold(OTHER)
        with pytest.raises(AbsentError):
            acts().put_tag(IMAGE, "x")

    @pytest.mark.parametrize(("code", "error"), [("UpstreamUnavailable", TransientError), ("KmsError", UpstreamError)])
    def test_a_manifest_that_is_not_given_says_why(self, ecr: LocalEcr, code: str, error: type) -> None:
        samples.hold(IMAGE)
        failed = {"images": [], "failures": [{"failureCode": code}]}
        with pytest.raises(error, match=code):
            acts(batch_get_image=failed).put_tag(IMAGE, "x")


class TestRemoveTag:
    def test_a_tag_is_taken_away_and_the_image_stays(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "1.0.0", "latest")
        for _ in range(2):
            acts().remove_tag(IMAGE, "latest")
        assert tags(ecr) == {"1.0.0"}

    def test_the_only_tag_is_never_taken_away(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "latest")
        client: Any = EcrClient()
        with pytest.raises(UpstreamError, match="the only tag"):
            EcrActs(lambda *_: client).remove_tag(IMAGE, "latest")
        assert tags(ecr) == {"latest"}
        assert "batch_delete_image" not in client.called

    def test_an_archived_image_loses_its_tag_as_well(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "1.0.0", "latest").status = "ARCHIVED"
        acts().remove_tag(IMAGE, "latest")
        assert tags(ecr) == {"1.0.0"}

    def test_a_tag_that_points_elsewhere_stays_there(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "1.0.0"), samples.hold(OTHER, "latest")
        acts().remove_tag(IMAGE, "latest")
        acts().remove_tag(IMAGE, "never-pushed")
        assert (tags(ecr), tags(ecr, OTHER.digest)) == ({"1.0.0"}, {"latest"})

    def test_it_is_never_asked_for_by_digest(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "1.0.0", "latest")
        client, asked = EcrClient(), list[Any]()
        real = boto3.client("ecr", samples.REGION)
        vars(client)["batch_delete_image"] = lambda **given: asked.append(given) or real.batch_delete_image(**given)
        EcrActs(lambda *_: client).remove_tag(IMAGE, "latest")  # type: ignore[arg-type, return-value]
        assert [given["imageIds"] for given in asked] == [[{"imageTag": "latest"}]]

    def test_a_tag_that_moved_in_the_same_moment_is_put_back(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "1.0.0", "latest"), samples.hold(OTHER, "2.0.0")

        def moved(delete: Callable[[], Any]) -> Any:
            samples.hold(OTHER, "latest")
            return delete()

        acts(batch_delete_image=moved).remove_tag(IMAGE, "latest")
        assert (tags(ecr), tags(ecr, OTHER.digest)) == ({"1.0.0"}, {"2.0.0", "latest"})

    def test_one_that_cannot_be_put_back_is_said_loudly(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE, "1.0.0", "latest"), samples.hold(OTHER)

        def moved(delete: Callable[[], Any]) -> Any:
            samples.hold(OTHER, "latest")
            return delete()

        with pytest.raises(UpstreamError, match=f"moved to .*{OTHER.digest}.* push that image again"):
            acts(batch_delete_image=moved).remove_tag(IMAGE, "latest")
        assert tags(ecr) == {"1.0.0"}

    @pytest.mark.parametrize(
        ("code", "error"),
        [
            ("ImageNotFound", None),
            ("ImageTagDoesNotMatchDigest", None),
            ("UpstreamTooManyRequests", TransientError),
            ("ImageReferencedByManifestList", UpstreamError),
            ("Unknown", UpstreamError),
        ],
    )
    def test_what_aws_did_not_do_is_looked_at(self, ecr: LocalEcr, code: str, error: type[Exception] | None) -> None:
        samples.hold(IMAGE, "1.0.0", "latest")
        change = acts(batch_delete_image={"imageIds": [], "failures": [{"failureCode": code, "failureReason": "why"}]})
        if error is None:
            change.remove_tag(IMAGE, "latest")
            return
        with pytest.raises(error, match=f"{code} why"):
            change.remove_tag(IMAGE, "latest")


@pytest.mark.parametrize(
    ("mutability", "immutable"),
    [
        ("MUTABLE", False),
        ("IMMUTABLE", True),
        ("IMMUTABLE_WITH_EXCLUSION", True),
        ("MUTABLE_WITH_EXCLUSION", True),
        (None, True),
    ],
)
def test_tags_are_immutable_where_any_may_be(ecr: LocalEcr, mutability: str | None, immutable: bool) -> None:
    samples.hold(IMAGE)
    arn = f"arn:aws:ecr:{HOME.region}:{HOME.registry}:repository/{HOME.name}"
    row = {"registryId": HOME.registry, "repositoryName": HOME.name, "repositoryArn": arn}
    if mutability:
        row["imageTagMutability"] = mutability
    assert acts(describe_repositories={"repositories": [row]}).tags_are_immutable(HOME) is immutable
    if mutability:
        ecr.home(HOME.name).image_tag_mutability = mutability
        assert acts().tags_are_immutable(HOME) is immutable


def test_a_repository_that_is_not_in_the_answer_is_absent(ecr: LocalEcr) -> None:
    with pytest.raises(AbsentError):
        acts(describe_repositories={"repositories": []}).tags_are_immutable(HOME)


class TestPolicies:
    def test_a_policy_is_written_read_and_deleted_each_twice(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE)
        former = json.dumps({"Version": "2012-10-17", "Statement": [statement("a")]}, indent=1)
        assert acts().read_policy(HOME) is None
        acts().delete_policy(HOME)
        for text in (former, with_statement(former, [ROLE])):
            for _ in range(2):
                acts().write_policy(HOME, text)
            assert acts().read_policy(HOME) == text
        assert has_statement(acts().read_policy(HOME))
        for _ in range(2):
            acts().delete_policy(HOME)
        assert acts().read_policy(HOME) is None

    def test_nothing_is_forced(self, ecr: LocalEcr) -> None:
        samples.hold(IMAGE)
        client, asked = EcrClient(), list[Any]()
        vars(client)["set_repository_policy"] = lambda **given: asked.append(given)
        EcrActs(lambda *_: client).write_policy(HOME, "{}")  # type: ignore[arg-type, return-value]
        assert asked == [{"registryId": HOME.registry, "repositoryName": HOME.name, "policyText": "{}"}]

    def test_a_repository_that_is_gone_is_absent(self, ecr: LocalEcr) -> None:
        for change in (acts().read_policy, acts().delete_policy, lambda home: acts().write_policy(home, "{}")):
            with pytest.raises(AbsentError) as raised:
                change(HOME)
            assert raised.value.what == "repository"


def test_nothing_is_done_to_a_public_image(ecr: LocalEcr) -> None:
    public = Repository("public/demo", PUBLIC_REGION, "team/api")
    image, client = public.image(IMAGE.digest), EcrClient()
    change = EcrActs(lambda *_: client)  # type: ignore[arg-type, return-value]
    for call in (
        lambda: change.archive(image),
        lambda: change.restore(image),
        lambda: change.put_tag(image, "x"),
        lambda: change.remove_tag(image, "x"),
        lambda: change.tags_are_immutable(public),
        lambda: change.read_policy(public),
        lambda: change.write_policy(public, "{}"),
        lambda: change.delete_policy(public),
    ):
        with pytest.raises(UpstreamError, match="Amazon ECR Public"):
            call()
    assert client.called == []
