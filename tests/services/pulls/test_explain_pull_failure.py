"""Why an image could not be pulled, from what is stored and, where that does not tell, from what AWS says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.pull_failure import PullFailureCause
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Stage
from chalicelib.domain.images.image import Child, ImageDetail, Kind, Repository, StorageStatus
from chalicelib.domain.images.names import ImageName
from chalicelib.domain.pulls.explanation import Explanation
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.table import DeniedDigests
from chalicelib.services.pulls.explain_pull_failure import explain_pull_failure, gather_evidence
from tests.services.pull_context import AT, EARLIER, FORBIDDEN, HOME, HOST, PullContext, failure, image

ROLE = "arn:aws:iam::111122223333:role/api-execution"


@pytest.fixture
def context() -> PullContext:
    return PullContext()


def why(context: PullContext, name: str = "team/api:v1", **changes: Any) -> Explanation:
    return explained(failure(name, **changes), context)


def explained(failed: FailedPull, context: PullContext) -> Explanation:
    return explain_pull_failure(gather_evidence(failed, context), context)


def recorded(context: PullContext, number: int, effect: str) -> str:
    record = ActionRecord(image(number), effect, EARLIER, effect.partition("#")[0], "rule:critical", "why", EARLIER)
    assert context.stored.record_action(record)
    return action_id(record)


# ---- ours


def test_our_quarantine_is_found_by_the_tag_and_named_by_its_action(context: PullContext) -> None:
    context.quarantine(image(1), "v1")
    named = recorded(context, 1, "QUARANTINE#3")
    explanation = why(context)
    assert (explanation.cause, explanation.action_ids) == (PullFailureCause.QUARANTINE, (named,))
    assert named in explanation.text
    assert f"lazaretto release {image(1)} --reason WHY" in explanation.what_to_do[1]
    assert context.ecr.asked == []


def test_our_quarantine_is_found_by_the_digest(context: PullContext) -> None:
    context.quarantine(image(1), "v1")
    assert why(context, f"team/api@{image(1).digest}").cause is PullFailureCause.QUARANTINE
    assert why(context, f"team/api:other@{image(1).digest}").cause is PullFailureCause.QUARANTINE


def test_a_quarantine_that_is_not_recorded_yet_is_named_by_its_key(context: PullContext) -> None:
    begun = Enforcement(ActionType.QUARANTINE, 4, Stage.BEGUN, EARLIER, "archive")
    context.know(image(1), "v1", enforcement=begun)
    explanation = why(context)
    assert (explanation.cause, explanation.action_ids) == (PullFailureCause.QUARANTINE, ())
    assert "QUARANTINE#4 was begun" in explanation.text


def test_an_audit_log_that_cannot_be_read_costs_no_more_than_the_id(context: PullContext) -> None:
    context.quarantine(image(1), "v1")
    context.queries = Broken(UpstreamError("the audit record was changed"))
    assert (why(context).cause, why(context).action_ids) == (PullFailureCause.QUARANTINE, ())
    context.queries = Broken(TransientError("throttled"))
    with pytest.raises(TransientError):
        why(context)


class Broken:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def actions(self, chain: object) -> None:
        raise self.error


def test_an_image_of_an_index_that_is_in_quarantine_explains_the_index(context: PullContext) -> None:
    children = (Child(image(2).digest, "linux/amd64"), Child(image(3).digest, "linux/arm64"))
    context.know(image(1), "v1", kind=Kind.INDEX, children=children)
    context.know(image(2))
    context.quarantine(image(3))
    named = recorded(context, 3, "QUARANTINE#3")
    explanation = why(context)
    assert (explanation.cause, explanation.action_ids, explanation.ref) == (
        PullFailureCause.QUARANTINE,
        (named,),
        image(1),
    )
    assert f"its image for linux/arm64 ({image(3).digest[:19]})" in explanation.text


def test_of_an_index_the_image_that_the_text_names_is_the_one(context: PullContext) -> None:
    children = (Child(image(2).digest, "linux/amd64"), Child(image(3).digest, "linux/arm64"))
    context.know(image(1), "v1", kind=Kind.INDEX, children=children)
    context.know(image(2), storage=StorageStatus.ARCHIVED)
    context.quarantine(image(3))
    said = f"CannotPullContainerError: content at https://{HOST}/v2/team/api/manifests/{image(2).digest} not found"
    explanation = why(context, said=said)
    assert explanation.cause is PullFailureCause.ARCHIVED
    assert image(2).digest in explanation.what_to_do[0]


def test_what_our_retention_archived_is_named_with_its_action_and_released(context: PullContext) -> None:
    context.know(image(1), "v1", storage=StorageStatus.ARCHIVED)
    named = recorded(context, 1, "ARCHIVE")
    explanation = why(context)
    assert explanation.cause is PullFailureCause.ARCHIVED
    assert explanation.text == f"Retention archived it at 2026-03-02 07:00:00 UTC (action {named}): why."
    assert f"lazaretto release {image(1)} --reason WHY" in explanation.what_to_do[0]


def test_what_the_lifecycle_policy_archived_is_named_and_restored_in_ecr(context: PullContext) -> None:
    context.know(image(1), "v1", storage=StorageStatus.ARCHIVED)
    recorded(context, 1, "ARCHIVE")
    recorded(context, 1, "ARCHIVED_BY_ECR")
    explanation = why(context)
    assert (explanation.cause, explanation.action_ids) == (PullFailureCause.ARCHIVED, ())
    assert "no quarantine of Lazaretto's is behind that: why, at 2026-03-02 07:00:00 UTC." in explanation.text
    assert explanation.what_to_do[0].startswith("Restore it: aws ecr update-image-storage-class")


def test_our_deny_is_the_whole_repositorys_and_names_all_that_are_blocked(context: PullContext) -> None:
    context.know(image(1), "v1")
    context.stored.change_denied(HOME, lambda _: DeniedDigests((image(2).digest, image(3).digest)))
    recorded(context, 2, "BLOCK#1")
    newest = recorded(context, 2, "BLOCK#4")
    explanation = why(context, said=FORBIDDEN)
    assert (explanation.cause, explanation.action_ids) == (PullFailureCause.DENY, (newest,))
    for number in (2, 3):
        assert any(f"lazaretto release {image(number)} --reason WHY" in line for line in explanation.what_to_do)
    assert context.runtime.asked_roles == []


def test_a_deny_that_is_begun_is_ours_before_it_is_confirmed(context: PullContext) -> None:
    context.know(image(1), "v1", enforcement=Enforcement(ActionType.BLOCK, 1, Stage.BEGUN, EARLIER))
    assert why(context, said=FORBIDDEN).cause is PullFailureCause.DENY


# ---- the registry's


def test_what_is_stored_is_believed_where_it_explains(context: PullContext) -> None:
    context.know(image(1), "v1", exists=False, existence_at=EARLIER)
    context.know(image(2), "v2", storage=StorageStatus.ARCHIVED)
    context.know(image(3), "v3", storage=StorageStatus.ACTIVATING)
    causes = [why(context, f"team/api:v{n}").cause for n in (1, 2, 3)]
    assert causes == [PullFailureCause.NOT_FOUND, PullFailureCause.ARCHIVED, PullFailureCause.RESTORING]
    assert context.ecr.asked == []


def test_a_tag_that_was_deleted_is_told_with_what_it_pointed_at(context: PullContext) -> None:
    context.know(image(1), "v1")
    context.stored.move_tag(HOME, "v1", None, EARLIER + timedelta(minutes=5))
    explanation = why(context)
    assert explanation.cause is PullFailureCause.NOT_FOUND
    assert explanation.text.startswith("The tag v1 was deleted at 2026-03-02 07:05:00 UTC")
    assert image(1).digest[:19] in explanation.text
    assert context.ecr.asked == []


@pytest.mark.parametrize(
    ("storage", "cause"),
    [
        (StorageStatus.ARCHIVED, PullFailureCause.ARCHIVED),
        (StorageStatus.ACTIVATING, PullFailureCause.RESTORING),
        (StorageStatus.ACTIVE, PullFailureCause.NOT_FOUND),
    ],
)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", ["team/api:v1", f"team/api@{image(1).digest}"])
def test_where_it_does_not_the_registry_is_asked(
    context: PullContext, storage: StorageStatus, cause: PullFailureCause, known: bool, name: str
) -> None:
    if known:
        context.know(image(1), "v1")
    context.ecr.hold(ImageDetail(image(1), ("v1",), storage=storage))
    explanation = why(context, name)
    assert explanation.cause is cause
    assert explanation.ref == (image(1) if known else None)
    assert len(context.ecr.asked) == 1


def test_a_tag_that_has_moved_unheard_is_told_by_what_it_points_at_now(context: PullContext) -> None:
    context.know(image(1), "v1")
    context.quarantine(image(2))
    context.ecr.hold(ImageDetail(image(2), ("v1",), storage=StorageStatus.ARCHIVED))
    explanation = why(context)
    assert (explanation.cause, explanation.ref) == (PullFailureCause.QUARANTINE, image(2))


def test_an_archive_of_ours_that_was_not_heard_of_yet_is_ours(context: PullContext) -> None:
    context.quarantine(image(1), "v1", storage=StorageStatus.ACTIVE)
    context.ecr.hold(ImageDetail(image(1), ("v1",), storage=StorageStatus.ARCHIVED))
    assert why(context).cause is PullFailureCause.QUARANTINE


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AbsentError("image", "no"), "was never heard of here"),
        (AbsentError("repository", "no"), "There is no repository team/api"),
        (DeniedError("role/lazaretto may not"), "could not be looked up: Lazaretto may not ask that registry"),
        (TransientError("throttled"), "could not be looked up: ECR did not answer in time"),
        (UpstreamError("nonsense"), "could not be looked up: ECR did not answer as needed"),
    ],
)
def test_a_look_up_that_fails_is_said_and_nothing_is_guessed(
    context: PullContext, error: Exception, words: str
) -> None:
    context.ecr.failure = error
    explanation = why(context)
    assert words in explanation.text
    assert "role/lazaretto" not in str(explanation)


def test_a_public_registry_of_others_is_not_asked(context: PullContext) -> None:
    """`ecr-public` answers for our own registry whatever alias is meant: what it lacks says nothing about others'."""
    failed = FailedPull(ImageName(Repository("public/demo", "us-east-1", "relay"), "1"), "not found", AT)
    explanation = explained(failed, context)
    assert "could not be looked up: a public registry answers its owner alone" in explanation.text
    assert context.ecr.asked == []


def test_a_text_that_names_the_repository_alone_asks_nothing(context: PullContext) -> None:
    explanation = explained(FailedPull(ImageName(HOME), "manifest unknown", AT), context)
    assert (explanation.cause, context.ecr.asked) == (PullFailureCause.NOT_FOUND, [])


# ---- a quarantine that is over


def act(context: PullContext, kind: str, number: int, at: Any, by: str, before: str, after: str) -> str:
    record = ActionRecord(image(1), f"{kind}#{number}", at, kind, by, "1 finding matched", at, before, after)
    assert context.stored.record_action(record)
    return action_id(record)


def released(context: PullContext, at: Any, **fields: Any) -> str:
    """As a quarantine from `EARLIER` to `at` leaves it. Returns the id of the quarantine."""
    named = act(context, "QUARANTINE", 3, EARLIER, "rule:critical", "ACTIVE; tags v1", "ARCHIVED; tags v1")
    act(context, "RELEASE", 4, at, "person:oncall", "ARCHIVED; tags v1", "ACTIVATING; tags v1")
    done = Enforcement(ActionType.RELEASE, 4, Stage.DONE, at, "archive")
    context.know(image(1), "v1", enforcement=done, **fields)
    context.ecr.hold(ImageDetail(image(1), ("v1",), activated_at=at + timedelta(minutes=9)))
    return named


@pytest.mark.parametrize("name", ["team/api:v1", f"team/api@{image(1).digest}"])
def test_the_quarantine_that_stood_when_it_failed_is_named_though_it_is_over(context: PullContext, name: str) -> None:
    named = released(context, AT + timedelta(minutes=2))
    explanation = why(context, name)
    assert (explanation.cause, explanation.action_ids, explanation.ref) == (
        PullFailureCause.QUARANTINE,
        (named,),
        image(1),
    )
    assert f"QUARANTINE#3 (action {named}) took it away at 2026-03-02 07:00:00 UTC" in explanation.text
    assert "by the rule critical: 1 finding matched" in explanation.text
    assert explanation.text.endswith(
        "released by oncall at 2026-03-02 08:07:30 UTC and restored at 2026-03-02 08:16:30 UTC."
    )
    assert explanation.what_to_do == ("Start it again; a service of ECS does so by itself.",)


def test_what_failed_between_the_release_and_the_end_of_the_restore_failed_by_the_quarantine(
    context: PullContext,
) -> None:
    named = released(context, AT - timedelta(minutes=2))
    assert (why(context).cause, why(context).action_ids) == (PullFailureCause.QUARANTINE, (named,))


def test_what_failed_later_is_not_found_and_hears_of_the_quarantine_that_was(context: PullContext) -> None:
    released(context, AT - timedelta(minutes=30))
    explanation = why(context)
    assert (explanation.cause, explanation.action_ids) == (PullFailureCause.NOT_FOUND, ())
    assert "It is there now" in explanation.text
    (note,) = explanation.notes
    assert note.startswith("Until 2026-03-02 07:44:30 UTC Lazaretto kept it from being pulled: QUARANTINE#3")


def test_of_an_index_the_image_that_was_in_quarantine_is_named(context: PullContext) -> None:
    named = released(
        context, AT + timedelta(minutes=2), platform="linux/arm64", activated_at=AT + timedelta(minutes=11)
    )
    context.know(image(2), "v2", kind=Kind.INDEX, children=(Child(image(1).digest, "linux/arm64"),))
    context.ecr.hold(ImageDetail(image(2), ("v2",)))
    explanation = why(context, "team/api:v2")
    assert (explanation.cause, explanation.action_ids, explanation.ref) == (
        PullFailureCause.QUARANTINE,
        (named,),
        image(2),
    )
    assert f"kept its image for linux/arm64 ({image(1).digest[:19]}) from being pulled then" in explanation.text


def test_what_was_deleted_before_it_failed_was_not_kept_by_a_quarantine(context: PullContext) -> None:
    released(context, AT + timedelta(minutes=2))
    context.stored.move_tag(HOME, "v1", None, EARLIER + timedelta(minutes=5))
    assert why(context).text.startswith("The tag v1 was deleted at 2026-03-02 07:05:00 UTC")


def test_what_is_archived_by_others_since_is_told_as_it_is_now(context: PullContext) -> None:
    released(context, AT + timedelta(minutes=2))
    context.ecr.hold(ImageDetail(image(1), ("v1",), storage=StorageStatus.ARCHIVED))
    assert why(context).cause is PullFailureCause.ARCHIVED


def test_the_audit_log_is_read_only_of_what_we_ever_acted_on(context: PullContext) -> None:
    context.know(image(1), "v1")
    context.ecr.hold(ImageDetail(image(1), ("v1",)))
    context.queries = Broken(AssertionError("read"))
    assert why(context).cause is PullFailureCause.NOT_FOUND


def test_a_log_that_cannot_be_read_names_no_quarantine(context: PullContext) -> None:
    released(context, AT + timedelta(minutes=2))
    context.queries = Broken(UpstreamError("the audit record was changed"))
    assert why(context).cause is PullFailureCause.NOT_FOUND


def test_what_says_plainly_why_is_not_put_down_to_a_quarantine_that_is_over(context: PullContext) -> None:
    released(context, AT + timedelta(minutes=2))
    assert why(context, said="CannotPullContainerError: i/o timeout").cause is PullFailureCause.UNREACHABLE


# ---- access


def test_the_role_that_pulls_is_asked_for_where_access_was_denied(context: PullContext) -> None:
    failed = failure("team/api:v1", said=FORBIDDEN)
    context.runtime.roles[failed.task_arn or ""] = ROLE
    explanation = explained(failed, context)
    assert explanation.cause is PullFailureCause.ACCESS_DENIED
    assert f"{ROLE} may not pull from {HOME.arn}" in explanation.text
    assert context.ecr.asked == []


def test_the_role_that_the_text_names_is_not_asked_for(context: PullContext) -> None:
    said = "denied: User: arn:aws:sts::111122223333:assumed-role/api-execution/x is not authorized to perform: ecr:x"
    assert ROLE in why(context, said=said).text
    assert context.runtime.asked_roles == []


@pytest.mark.parametrize("error", [DeniedError("no"), TransientError("later"), None])
def test_a_role_that_cannot_be_told_is_said_to_be_so(context: PullContext, error: Exception | None) -> None:
    if error is not None:
        context.runtime.pull_role = lambda _: (_ for _ in ()).throw(error)  # type: ignore[method-assign]
    explanation = why(context, said=FORBIDDEN)
    assert "which one could not be told" in explanation.text


def test_a_role_that_the_caller_knows_is_taken(context: PullContext) -> None:
    failed = FailedPull(ImageName(HOME, "v1"), FORBIDDEN, AT)
    explanation = explain_pull_failure(gather_evidence(failed, context, ROLE), context)
    assert ROLE in explanation.text
    assert context.runtime.asked_roles == []


@pytest.mark.parametrize(
    "said", ["i/o timeout", "toomanyrequests", "no space left on device", "no matching manifest for"]
)
def test_what_is_said_plainly_asks_nobody(context: PullContext, said: str) -> None:
    context.know(image(1), "v1")
    explanation = why(context, said=f"CannotPullContainerError: {said}")
    assert not explanation.cause.unexplained
    assert (context.ecr.asked, context.runtime.asked_roles) == ([], [])
