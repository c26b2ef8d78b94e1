"""ECR changed: what is so already is success, what may not be is said, and no image is ever deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.adapters.ecr.registry import EcrActs
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


CHANGES: list[tuple[str, Callable[[EcrActs], object]]] = [
    ("update_image_storage_class", lambda a: a.archive(IMAGE)),
    ("update_image_storage_class", lambda a: a.restore(IMAGE)),
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
        lambda: change.read_policy(public),
        lambda: change.write_policy(public, "{}"),
        lambda: change.delete_policy(public),
    ):
        with pytest.raises(UpstreamError, match="Amazon ECR Public"):
            call()
    assert client.called == []
