"""A native policy beside our retention: what ECR would take that runs, is evidence, or that we keep."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from chalicelib.domain.retention.image import RetainedImage
from chalicelib.domain.retention.lifecycle_compiler import Danger
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.retention.write_lifecycle import Compared, compare_lifecycle
from tests.fakes.registries import HOME, digest, retained
from tests.services.retaining import Retaining

EXPIRE = NativeAct("expire", 1)
NEWEST = {"keep": {"newest": 2}, "max_share": 1.0}
POLICY = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 2},
                "action": {"type": "expire"},
            }
        ]
    }
)


def four() -> list[RetainedImage]:
    return [retained(n, f"t{n}", days=n) for n in (1, 2, 3, 4)]


def world(text: str | None = POLICY, acts: dict[str, NativeAct] | None = None, **said: Any) -> Retaining:
    made = Retaining(four(), {**NEWEST, **said})
    if text is not None:
        made.lifecycles.texts[HOME] = text
    made.lifecycles.acts = acts
    return made


def compared(made: Retaining, text: str | None = None) -> Compared:
    return compare_lifecycle(HOME, made, text=text)  # type: ignore[arg-type]


def dangers(found: Compared) -> dict[int, Danger]:
    return {int(d.image.digest[7:], 16): d.danger for d in found.differences}


def test_a_policy_that_takes_the_same_differs_in_nothing() -> None:
    found = compared(world(acts={digest(3): EXPIRE, digest(4): EXPIRE}))
    assert found.previewed
    assert not found.differences
    assert found.explained == ("1. Of the images (tagged or not), the newest 2 stay; expire the others.",)


def test_what_runs_is_named_first_also_where_we_would_take_it_too() -> None:
    made = world(acts={digest(2): EXPIRE, digest(3): EXPIRE})
    made.runtime.run(HOME.image(digest(3)))
    found = compared(made)
    assert dangers(found) == {3: Danger.RUNNING, 2: Danger.KEPT, 4: Danger.LEFT}
    assert [d.danger for d in found.differences] == [Danger.RUNNING, Danger.KEPT, Danger.LEFT]
    assert {d.image.digest for d in found.dangers} == {digest(2), digest(3)}


def test_what_may_run_is_as_dangerous() -> None:
    made = world(acts={digest(4): EXPIRE})
    made.runtime.blind = ("EKS cannot be looked at",)
    assert dangers(compared(made))[4] is Danger.RUNNING


def test_what_was_not_looked_up_is_as_dangerous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.services.retention.write_lifecycle.MOST_LOOKED_UP", 1)
    found = compared(world(acts={digest(3): EXPIRE, digest(4): EXPIRE}))
    assert dangers(found) == {4: Danger.RUNNING}
    assert "was not looked up" in found.differences[0].why


def test_evidence_is_named() -> None:
    made = world(acts={digest(4): EXPIRE})
    ref = HOME.image(digest(4))
    made.stored.headers[ref] = msgspec.structs.replace(made.stored.headers[ref], denied=True)
    assert dangers(compared(made))[4] is Danger.EVIDENCE


def test_who_archives_what_the_other_deletes_differs() -> None:
    found = compared(world(acts={digest(3): NativeAct("archive", 1), digest(4): EXPIRE}))
    assert dangers(found) == {3: Danger.OTHERWISE}
    assert not found.dangers


def test_without_a_policy_there_is_nothing_to_compare() -> None:
    found = compared(world(text=None))
    assert (found.text, found.differences) == (None, ())


def test_without_a_preview_our_own_reading_counts_and_says_so() -> None:
    found = compared(world())
    assert not found.previewed
    assert found.doubt == "it ended FAILED"
    assert set(found.acts) == {digest(3), digest(4)}


def test_a_policy_that_only_ecr_understands_is_compared_by_its_preview() -> None:
    found = compared(world('{"rules": "new"}', {digest(1): EXPIRE}))
    assert found.unread
    assert found.explained == ()
    assert dangers(found)[1] is Danger.KEPT


def test_a_policy_nobody_understands_is_said_to_be_one() -> None:
    with pytest.raises(UpstreamError, match="FAILED"):
        compared(world('{"rules": "new"}'))


@pytest.mark.parametrize("error", [TransientError("busy"), AbsentError("repository", "gone")])
def test_a_preview_that_only_needs_time_is_not_replaced_by_a_guess(error: UpstreamError) -> None:
    made = world()
    made.lifecycles.error = error
    with pytest.raises(type(error)):
        compared(made)


def test_a_preview_we_may_not_have_is_replaced_by_our_reading() -> None:
    made = world()
    made.lifecycles.error = DeniedError("no")
    assert compared(made).doubt == "no"


def test_images_that_ecr_names_and_nobody_lists_are_passed_over() -> None:
    found = compared(world(acts={digest(99): EXPIRE, digest(3): EXPIRE, digest(4): EXPIRE}))
    assert not found.differences
