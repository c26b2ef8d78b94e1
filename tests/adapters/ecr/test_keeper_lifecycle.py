"""Native lifecycle policies through the API: read, written, deleted, and a preview that is waited for."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.ecr.keeper import EcrLifecycles
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from tests.fakes.registries import HOME, digest


class Client:
    """Answers each operation with what was scripted, in order; the last answer is given again and again."""

    def __init__(self, **answers: Any) -> None:
        self._answers = {name: list(said) if isinstance(said, list) else [said] for name, said in answers.items()}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.asked.append((name, request))
            said = self._answers[name]
            answer = said.pop(0) if len(said) > 1 else said[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "x")


def lifecycles(**answers: Any) -> tuple[EcrLifecycles, Client, list[float]]:
    client, pauses = Client(**answers), list[float]()
    made: Any = client
    return EcrLifecycles(lambda *_: made, pauses.append), client, pauses


def row(number: int, word: str = "EXPIRE", priority: int = 1) -> dict[str, Any]:
    return {"imageDigest": digest(number), "action": {"type": word}, "appliedRulePriority": priority}


def page(status: str, *rows: dict[str, Any], token: str | None = None) -> dict[str, Any]:
    return {"status": status, "previewResults": list(rows), **({"nextToken": token} if token else {})}


STARTED = {"status": "IN_PROGRESS"}


def test_a_policy_is_read_as_its_text_and_none_is_none() -> None:
    assert lifecycles(get_lifecycle_policy={"lifecyclePolicyText": "{}"})[0].read(HOME) == "{}"
    assert lifecycles(get_lifecycle_policy=refused("LifecyclePolicyNotFoundException"))[0].read(HOME) is None


def test_a_policy_is_written_and_deleted_and_one_that_is_gone_is_success() -> None:
    made, client, _ = lifecycles(
        put_lifecycle_policy={}, delete_lifecycle_policy=[{}, refused("LifecyclePolicyNotFoundException")]
    )
    made.write(HOME, "{}")
    made.delete(HOME)
    made.delete(HOME)
    named = {"registryId": HOME.registry, "repositoryName": HOME.name}
    assert client.asked[0] == ("put_lifecycle_policy", {**named, "lifecyclePolicyText": "{}"})


def test_a_preview_is_waited_for_and_read_page_by_page() -> None:
    made, client, pauses = lifecycles(
        start_lifecycle_policy_preview=STARTED,
        get_lifecycle_policy_preview=[
            page("IN_PROGRESS"),
            page("COMPLETE", row(1), token="more"),
            page("COMPLETE", row(2, "TRANSITION", 3)),
        ],
    )
    assert made.preview(HOME, "{}") == {digest(1): NativeAct("expire", 1), digest(2): NativeAct("archive", 3)}
    assert pauses == [5.0]
    assert client.asked[-1][1]["nextToken"] == "more"


@pytest.mark.parametrize("status", ["FAILED", "EXPIRED"])
def test_a_preview_that_fails_is_no_empty_one(status: str) -> None:
    made, _, _ = lifecycles(start_lifecycle_policy_preview=STARTED, get_lifecycle_policy_preview=page(status))
    with pytest.raises(UpstreamError, match=status):
        made.preview(HOME, "{}")


def test_a_preview_that_never_ends_is_given_up() -> None:
    made, _, pauses = lifecycles(
        start_lifecycle_policy_preview=STARTED, get_lifecycle_policy_preview=page("IN_PROGRESS")
    )
    with pytest.raises(TransientError, match="still at it"):
        made.preview(HOME, "{}")
    assert len(pauses) == 19


def test_another_preview_under_way_only_needs_time() -> None:
    made, _, _ = lifecycles(start_lifecycle_policy_preview=refused("LifecyclePolicyPreviewInProgressException"))
    with pytest.raises(TransientError, match="another one"):
        made.preview(HOME, "{}")


def test_an_action_nobody_knows_is_not_taken_for_a_harmless_one() -> None:
    made, _, _ = lifecycles(
        start_lifecycle_policy_preview=STARTED, get_lifecycle_policy_preview=page("COMPLETE", row(1, "SHRED"))
    )
    with pytest.raises(UpstreamError, match="SHRED"):
        made.preview(HOME, "{}")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", TransientError),
        ("AccessDeniedException", DeniedError),
        ("RepositoryNotFoundException", AbsentError),
        ("ValidationException", UpstreamError),
    ],
)
def test_what_aws_refuses_is_told_apart(code: str, error: type) -> None:
    for call in ("read", "delete", "write", "preview"):
        made, _, _ = lifecycles(
            get_lifecycle_policy=refused(code),
            delete_lifecycle_policy=refused(code),
            put_lifecycle_policy=refused(code),
            start_lifecycle_policy_preview=refused(code),
        )
        given = [HOME, "{}"] if call in ("write", "preview") else [HOME]
        with pytest.raises(UpstreamError) as raised:
            getattr(made, call)(*given)
        assert type(raised.value) is error


def test_a_preview_of_another_policy_is_not_taken_for_ours() -> None:
    about = page("COMPLETE") | {"lifecyclePolicyText": '{"rules": []}'}
    made, _, _ = lifecycles(start_lifecycle_policy_preview=STARTED, get_lifecycle_policy_preview=about)
    assert made.preview(HOME, '{"rules":[]}') == {}
    with pytest.raises(TransientError, match="another policy"):
        made.preview(HOME, '{"rules":[1]}')
