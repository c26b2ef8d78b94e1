"""Our rule as the native policy: only where it can be said, and where nobody is hurt."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.domain.retention.lifecycle_policy import parse_lifecycle_policy
from chalicelib.errors import ConflictError, UpstreamError
from chalicelib.services.retention.write_lifecycle import Written, write_lifecycle
from tests.fakes.registries import HOME, digest, retained
from tests.services.retaining import Retaining

SAID = {"keep": {"newest": 2}, "untagged_after_days": 7, "max_share": 1.0}


def world(said: dict[str, Any] | None = None, **policy: Any) -> Retaining:
    made = Retaining([retained(n, f"t{n}", days=n) for n in (1, 2, 3, 4)], said or SAID, **policy)
    made.lifecycles.acts = {digest(3): NativeAct("expire", 2), digest(4): NativeAct("expire", 2)}
    return made


def written(made: Retaining, **more: Any) -> Written:
    return write_lifecycle(HOME, "alice", made, **more)  # type: ignore[arg-type]


def test_a_rule_is_compiled_previewed_recorded_and_written() -> None:
    made = world()
    done = written(made)
    text = made.lifecycles.texts[HOME]
    assert made.lifecycles.previewed == [text]
    assert len(parse_lifecycle_policy(text).rules) == 2
    record = made.records("LIFECYCLE_WRITTEN")[0]
    assert (record.actor, record.before, record.after) == ("person:alice", None, text)
    assert record.undo is not None
    assert record.undo.startswith("aws ecr delete-lifecycle-policy")
    assert "that what runs, or may run, stays" in done.compiled.unsaid


def test_no_policy_is_written_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()

    def dies(*_: Any) -> None:
        raise UpstreamError("no answer")

    monkeypatch.setattr(made.lifecycles, "write", dies)
    with pytest.raises(UpstreamError):
        written(made)
    assert len(made.records("LIFECYCLE_WRITTEN")) == 1


def test_a_dry_run_writes_and_records_nothing() -> None:
    made = world()
    assert written(made, dry_run=True).dry_run
    assert not made.lifecycles.texts
    assert not made.records("LIFECYCLE_WRITTEN")


def test_what_is_in_force_already_is_not_written_again() -> None:
    made = world()
    written(made)
    written(made)
    assert len(made.records("LIFECYCLE_WRITTEN")) == 1


def test_the_former_policy_is_kept_in_the_record() -> None:
    made = world()
    made.lifecycles.texts[HOME] = "former"
    assert written(made).former == "former"
    record = made.records("LIFECYCLE_WRITTEN")[0]
    assert (record.before, record.undo) == ("former", None)


def test_a_rule_that_cannot_be_said_is_refused_with_the_reason() -> None:
    made = world({"keep": {"newest_per_minor": 2}, "untagged_after_days": 7})
    with pytest.raises(ConflictError, match="newest_per_minor: ECR does not read versions"):
        written(made)


def test_a_policy_that_would_take_what_runs_is_refused() -> None:
    made = world()
    made.runtime.run(HOME.image(digest(4)))
    with pytest.raises(ConflictError, match=r"would take 1 images that are to stay.*running"):
        written(made)
    assert not made.lifecycles.texts


@pytest.mark.parametrize("policy", [{"mode": "observe"}, {"exempt": {"repository": "team/*"}}])
def test_who_only_observes_lets_ecr_take_nothing_either(policy: dict[str, Any]) -> None:
    with pytest.raises(ConflictError, match="only observes, or exempts"):
        written(world(**policy))


def test_without_a_rule_there_is_nothing_to_say() -> None:
    with pytest.raises(ConflictError, match="no rule of `retention` names team/api"):
        written(world({**SAID, "repository": "other/*"}))


@pytest.mark.parametrize("limit", [{"max_share": 0.2}, {"max_share": 1.0, "max_images": 1}])
def test_a_rule_that_our_limits_stop_is_not_left_to_ecr_which_knows_none(limit: dict[str, Any]) -> None:
    made = world({**SAID, **limit})
    with pytest.raises(ConflictError, match=r"2 .*images would go, more than max_"):
        written(made)
    assert not made.lifecycles.texts
