"""Why an image could not be pulled: what of it is ours, what is the registry's or IAM's, and the words for it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.pull_failure import PullFailureCause
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Hold, Order, Stage
from chalicelib.domain.images.image import Child, ImageDetail, ImageRef, Kind, Repository, StorageStatus
from chalicelib.domain.images.names import ImageName
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.pulls.evidence import Evidence, EvidenceLookup, LostTag
from chalicelib.domain.pulls.explanation import Explanation, explain

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
HOME = Repository("111122223333", "eu-west-1", "team/api")
REF, OTHER = HOME.image(f"sha256:{'a' * 64}"), HOME.image(f"sha256:{'b' * 64}")
AT = datetime(2026, 3, 2, 8, 5, 30, tzinfo=UTC)
EARLIER = datetime(2026, 3, 2, 7, tzinfo=UTC)
VERDICT = Verdict(Decision.QUARANTINE, (Reason("critical", Decision.QUARANTINE, "1 finding matched"),), 1, EARLIER)
NOT_FOUND, FORBIDDEN = f"CannotPullContainerError: {HOST}/team/api:v1: not found", "403 Forbidden"
USER = "User: arn:aws:sts::111122223333:assumed-role/api-execution/0123 is not authorized to perform: ecr:BatchGetImage"
ROLE = "arn:aws:iam::111122223333:role/api-execution"


def failed(said: str = NOT_FOUND, tag: str | None = "v1", digest: str | None = None, home: Repository = HOME):
    return FailedPull(ImageName(home, tag, digest), said, AT)


def header(ref: ImageRef = REF, **fields: Any) -> Header:
    return Header(**{"ref": ref, "exists": True, "verdict": VERDICT, **fields})


def hold() -> Hold:
    return Hold("archive", 3, EARLIER)


def said(pull: FailedPull | None = None, **known: Any) -> Explanation:
    return explain(Evidence(pull or failed(), **known))


def commands(explanation: Explanation) -> list[str]:
    lines = (*explanation.what_to_do, *explanation.notes)
    return [line.split(": ", 1)[1] for line in lines if ": lazaretto " in line or ": aws " in line]


# ---- our quarantine


def test_our_quarantine_is_named_with_its_act_its_rule_and_the_release() -> None:
    explanation = said(header=header(hold=hold(), storage=StorageStatus.ARCHIVED))
    assert explanation.cause is PullFailureCause.QUARANTINE
    assert "QUARANTINE#3 archived it at 2026-03-02 07:00:00 UTC" in explanation.text
    assert explanation.text.endswith(", by the rule critical: 1 finding matched.")
    assert f"lazaretto release {REF} --reason WHY" in explanation.what_to_do[1]
    assert explanation.ref == REF


def test_the_action_is_named_by_its_id_where_it_is_recorded() -> None:
    known = header(hold=hold(), storage=StorageStatus.ARCHIVED)
    explanation = said(header=known, action_ids=("20260302T070000.000000Z-QUARANTINE-3-1f0c2ab9",))
    assert "QUARANTINE#3 (action 20260302T070000.000000Z-QUARANTINE-3-1f0c2ab9) archived it" in explanation.text
    assert explanation.action_ids == ("20260302T070000.000000Z-QUARANTINE-3-1f0c2ab9",)


def test_a_quarantine_that_is_begun_is_ours_before_it_is_confirmed() -> None:
    begun = Enforcement(ActionType.QUARANTINE, 4, Stage.BEGUN, EARLIER, "archive")
    explanation = said(header=header(enforcement=begun))
    assert explanation.cause is PullFailureCause.QUARANTINE
    assert "QUARANTINE#4 was begun at 2026-03-02 07:00:00 UTC and is not confirmed yet" in explanation.text


def test_a_persons_order_is_named_as_such() -> None:
    order = Order(ActionType.QUARANTINE, "oncall", "suspicious\nlayer", EARLIER)
    explanation = said(header=header(hold=hold(), storage=StorageStatus.ARCHIVED, order=order))
    assert explanation.text.endswith("ordered by oncall: suspicious layer.")


def test_an_image_of_an_index_is_told_by_its_platform() -> None:
    index = header(kind=Kind.INDEX, children=(Child(OTHER.digest, "linux/arm64"),))
    child = header(OTHER, hold=hold(), storage=StorageStatus.ARCHIVED)
    explanation = said(header=index, members=(child,))
    assert explanation.cause is PullFailureCause.QUARANTINE
    assert f"keeps its image for linux/arm64 ({OTHER.digest[:19]}) from being pulled" in explanation.text
    assert f"lazaretto release {OTHER}" in explanation.what_to_do[1]
    assert explanation.ref == REF


def test_a_quarantine_that_keeps_nobody_from_pulling_is_not_the_reason() -> None:
    explanation = said(header=header(hold=hold(), storage=StorageStatus.ACTIVE))
    assert explanation.cause is PullFailureCause.NOT_FOUND
    assert any("Besides, Lazaretto has it in quarantine" in note for note in explanation.notes)


@pytest.mark.parametrize("text", ["dial tcp: i/o timeout", "no space left on device", "403 Forbidden"])
def test_what_is_said_is_not_outdone_by_a_quarantine_that_stands_besides(text: str) -> None:
    explanation = said(failed(text), header=header(hold=hold(), storage=StorageStatus.ARCHIVED))
    assert not explanation.cause.ours
    assert any(f"lazaretto release {REF} --reason WHY" in note for note in explanation.notes)


# ---- our Deny


def test_our_deny_names_each_blocked_image_and_its_release() -> None:
    explanation = said(failed(FORBIDDEN), header=header(), denied=(REF, OTHER), action_ids=("a-1", "b-2"))
    assert explanation.cause is PullFailureCause.DENY
    assert "denies all pulls from team/api by the repository's policy" in explanation.text
    assert f"because of {REF.digest[:19]}, {OTHER.digest[:19]} (action a-1, b-2)" in explanation.text
    assert [line.partition(": ")[2] for line in explanation.what_to_do[:2]] == [
        f"lazaretto release {ref} --reason WHY" for ref in (REF, OTHER)
    ]
    assert "none of the 2 is blocked" in explanation.what_to_do[2]


def test_an_image_that_is_denied_for_another_ones_sake_hears_that() -> None:
    assert "is not one of them" in said(failed(FORBIDDEN), header=header(), denied=(OTHER,)).text
    assert "is not one of them" not in said(failed(FORBIDDEN), header=header(), denied=(REF,)).text
    assert "is not one of them" not in said(failed(FORBIDDEN), denied=(OTHER,)).text


def test_many_blocked_images_are_counted() -> None:
    denied = tuple(HOME.image(f"sha256:{n:064x}") for n in range(9))
    explanation = said(failed(FORBIDDEN), denied=denied)
    assert "and 4 more" in explanation.text
    assert len([line for line in explanation.what_to_do if "release" in line]) == 5


@pytest.mark.parametrize(
    ("because", "ours"),
    [
        ("with an explicit deny in a resource-based policy", True),
        ("", True),
        ("with an explicit deny in a service control policy", False),
        ("because no identity-based policy allows the ecr:BatchGetImage action", False),
    ],
)
def test_what_iam_says_decides_whether_the_deny_is_ours(because: str, ours: bool) -> None:
    explanation = said(failed(f"denied: {USER} on resource: x {because}"), denied=(OTHER,))
    assert explanation.cause is (PullFailureCause.DENY if ours else PullFailureCause.ACCESS_DENIED)
    assert ours or any("Besides, Lazaretto denies all pulls from team/api" in note for note in explanation.notes)


def test_a_deny_does_not_explain_what_is_not_found() -> None:
    assert said(failed(NOT_FOUND), header=header(), denied=(OTHER,)).cause is PullFailureCause.NOT_FOUND


# ---- missing, archived, restoring


def test_an_archive_of_others_is_told_with_the_command_that_restores_it() -> None:
    explanation = said(header=header(storage=StorageStatus.ARCHIVED))
    assert explanation.cause is PullFailureCause.ARCHIVED
    assert "no quarantine of Lazaretto's" in explanation.text
    command = shlex.split(commands(explanation)[0].partition(" (")[0])
    assert command[:3] == ["aws", "ecr", "update-image-storage-class"]
    assert f"imageDigest={REF.digest}" in command
    assert any("restored, it would be taken away again" in note for note in explanation.notes)


@pytest.mark.parametrize("ours", [True, False])
def test_a_restore_under_way_is_told_with_who_asked_for_it(ours: bool) -> None:
    done = Enforcement(ActionType.RELEASE, 5, Stage.BEGUN, EARLIER, "archive") if ours else None
    explanation = said(header=header(storage=StorageStatus.ACTIVATING, hold=hold(), enforcement=done))
    assert explanation.cause is PullFailureCause.RESTORING
    assert ("Lazaretto released it at 2026-03-02 07:00:00 UTC (RELEASE#5)" in explanation.text) is ours
    assert "20 minutes" in explanation.what_to_do[0]
    assert not explanation.notes


def test_a_deleted_image_is_told_with_the_time() -> None:
    explanation = said(header=header(exists=False, existence_at=EARLIER))
    assert explanation.cause is PullFailureCause.NOT_FOUND
    assert explanation.text.startswith("The image was deleted at 2026-03-02 07:00:00 UTC")


def test_a_tag_that_was_deleted_is_told_with_what_it_pointed_at() -> None:
    explanation = said(header=header(), lost_tag=LostTag(REF, EARLIER))
    assert explanation.cause is PullFailureCause.NOT_FOUND
    assert explanation.text.startswith("The tag v1 was deleted at 2026-03-02 07:00:00 UTC")
    assert f"it pointed at {REF.digest[:19]}" in explanation.text
    assert "pointed" not in said(lost_tag=LostTag(None, EARLIER)).text


def test_a_tag_that_was_deleted_from_an_archived_image_is_missing_by_no_act_of_ours() -> None:
    known = header(hold=hold(), storage=StorageStatus.ARCHIVED)
    assert said(header=known, lost_tag=LostTag(REF, EARLIER)).cause is PullFailureCause.NOT_FOUND


@pytest.mark.parametrize(
    ("look", "known", "cause", "words"),
    [
        (EvidenceLookup(absent="image"), None, PullFailureCause.NOT_FOUND, "was never heard of here"),
        (EvidenceLookup(absent="image"), header(), PullFailureCause.NOT_FOUND, "no event has told that it was deleted"),
        (EvidenceLookup(absent="repository"), None, PullFailureCause.NO_REPOSITORY, "There is no repository team/api"),
        (
            EvidenceLookup(failed="ECR did not answer in time"),
            None,
            PullFailureCause.NOT_FOUND,
            "could not be looked up: ECR did not answer",
        ),
        (
            EvidenceLookup(ImageDetail(REF, storage=StorageStatus.ARCHIVED)),
            None,
            PullFailureCause.ARCHIVED,
            "is archived in ECR",
        ),
        (
            EvidenceLookup(ImageDetail(REF, storage=StorageStatus.ACTIVATING)),
            None,
            PullFailureCause.RESTORING,
            "is restoring it",
        ),
        (EvidenceLookup(ImageDetail(REF)), header(), PullFailureCause.NOT_FOUND, "It is there now: it can be pulled"),
        (
            EvidenceLookup(ImageDetail(REF)),
            header(kind=Kind.INDEX),
            PullFailureCause.NOT_FOUND,
            "whether the images of this index are was",
        ),
        (
            EvidenceLookup(ImageDetail(REF, pushed_at=EARLIER, activated_at=AT + timedelta(minutes=1))),
            header(),
            PullFailureCause.NOT_FOUND,
            "It is there now, restored at 2026-03-02 08:06:30 UTC",
        ),
        (None, None, PullFailureCause.NOT_FOUND, "so that it could not be looked up"),
    ],
)
def test_what_the_registry_says_now_is_told(
    look: EvidenceLookup | None, known: Header | None, cause: PullFailureCause, words: str
) -> None:
    explanation = said(header=known, look=look)
    assert explanation.cause is cause
    assert words in explanation.text


def test_what_is_there_again_need_not_be_pushed() -> None:
    assert said(header=header(), look=EvidenceLookup(ImageDetail(REF))).what_to_do == (
        "Start it again; a service of ECS does so by itself.",
    )
    assert "Push it again" in said(look=EvidenceLookup(absent="image")).what_to_do[0]


def test_a_failed_look_is_said_and_nothing_is_guessed() -> None:
    explanation = said(failed("something new"), look=EvidenceLookup(failed="Lazaretto may not ask that registry"))
    assert explanation.cause is PullFailureCause.UNKNOWN
    assert explanation.notes == ("Whether it is there could not be looked up: Lazaretto may not ask that registry.",)


def test_an_unknown_text_stays_unknown_even_where_the_image_is_there() -> None:
    explanation = said(failed("something new"), header=header(), look=EvidenceLookup(ImageDetail(REF)))
    assert explanation.cause is PullFailureCause.UNKNOWN
    assert explanation.notes == ("The image is in the registry, and not archived.",)


@pytest.mark.parametrize(
    ("known", "is_open"),
    [
        ({}, True),
        ({"header": header()}, True),
        ({"header": header(exists=False)}, False),
        ({"header": header(storage=StorageStatus.ARCHIVED)}, False),
        ({"lost_tag": LostTag(REF, EARLIER)}, False),
        ({"look": EvidenceLookup(absent="image")}, False),
    ],
)
def test_the_registry_is_asked_only_where_nothing_stored_explains_it(known: dict[str, Any], is_open: bool) -> None:
    assert Evidence(failed(), **known).is_open is is_open
    assert not Evidence(failed("i/o timeout"), **known).is_open
    assert not Evidence(failed(FORBIDDEN), **known).is_open


# ---- access


def test_denied_access_names_the_role_and_what_a_pull_needs() -> None:
    explanation = said(failed(FORBIDDEN), role=ROLE)
    assert explanation.cause is PullFailureCause.ACCESS_DENIED
    assert f"{ROLE} may not pull from {HOME.arn}" in explanation.text
    (line,) = explanation.what_to_do
    for needed in (ROLE, "ecr:GetAuthorizationToken on *", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", HOME.arn):
        assert needed in line


def test_a_role_that_cannot_be_told_is_not_guessed() -> None:
    explanation = said(failed(FORBIDDEN))
    assert "the role that pulls (which one could not be told)" in explanation.text
    assert "execution role" in explanation.what_to_do[1]


def test_the_text_itself_knows_best_who_was_refused_what() -> None:
    text = f"denied: {USER} on resource: x because no identity-based policy allows the ecr:BatchGetImage action"
    explanation = said(failed(text), role="arn:aws:iam::111122223333:role/other")
    assert explanation.text == (
        f"Access was denied: {ROLE} may not do ecr:BatchGetImage on {HOME.arn}. No identity-based policy allows it."
    )


def test_a_deny_of_others_is_told_from_ours() -> None:
    explanation = said(failed(f"denied: {USER} on resource: x with an explicit deny in a resource-based policy"))
    assert explanation.cause is PullFailureCause.ACCESS_DENIED
    assert "A Deny in a resource-based policy says so; it is none of ours." in explanation.text
    assert "Take the Deny out of the resource-based policy: no Allow outweighs it." in explanation.what_to_do


def test_a_role_of_another_account_needs_the_repositorys_policy_too() -> None:
    foreign = said(failed(FORBIDDEN), role="arn:aws:iam::999988887777:role/api")
    assert "The repository's policy must allow it as well: the registry belongs to account 111122223333." in (
        foreign.what_to_do
    )


def test_a_layer_that_s3_refused_is_not_ecrs_doing() -> None:
    text = "failed to copy: https://prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com/x: 403 Forbidden"
    explanation = said(failed(text), denied=(OTHER,))
    assert explanation.cause is PullFailureCause.ACCESS_DENIED
    assert "Amazon S3 refused" in explanation.text
    assert "arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/*" in explanation.what_to_do[0]


def test_who_is_not_signed_in_needs_a_token() -> None:
    explanation = said(failed("no basic auth credentials"), role=ROLE)
    assert explanation.cause is PullFailureCause.NOT_SIGNED_IN
    assert "ecr:GetAuthorizationToken on *" in explanation.what_to_do[0]


# ---- everything else


def test_the_platforms_that_an_index_has_are_named() -> None:
    children = (Child(OTHER.digest, "linux/amd64"), Child(REF.digest, "unknown/unknown"))
    explanation = said(failed("no matching manifest for linux/arm64/v8"), header=header(children=children))
    assert explanation.text == "The image has nothing for linux/arm64/v8; it has linux/amd64."
    assert said(failed("no match for platform in manifest")).text == (
        "The image has nothing for the platform it was pulled for."
    )


@pytest.mark.parametrize(
    ("text", "cause", "words"),
    [
        ("toomanyrequests: Rate exceeded", PullFailureCause.THROTTLED, "too many pulls at once"),
        ("dial tcp: i/o timeout", PullFailureCause.UNREACHABLE, "could not be reached"),
        ("no space left on device", PullFailureCause.NO_SPACE, "no room left"),
        ("unexpected commit digest", PullFailureCause.DAMAGED, "not what the image's manifest promises"),
        ("invalid reference format", PullFailureCause.BAD_NAME, "none that can be pulled"),
        ("UnableToGetUpstreamImageException", PullFailureCause.UPSTREAM, "pull-through cache"),
        ("500 Internal Server Error", PullFailureCause.REGISTRY_ERROR, "The registry itself failed"),
        ("unable to retrieve secret from asm", PullFailureCause.NO_SECRET, "secrets could not be fetched"),
        ("something new", PullFailureCause.UNKNOWN, "not known here"),
    ],
)
def test_what_is_none_of_ours_is_told_with_what_can_be_done(text: str, cause: PullFailureCause, words: str) -> None:
    explanation = said(failed(text), header=header())
    assert explanation.cause is cause
    assert words in explanation.text
    assert len(explanation.what_to_do) == 1
    assert explanation.action_ids == ()


def test_an_artifact_is_said_to_be_no_image() -> None:
    assert any("It is no image" in note for note in said(header=header(kind=Kind.ARTIFACT)).notes)


def test_hostile_words_of_others_are_made_harmless() -> None:
    verdict = msgspec.structs.replace(
        VERDICT, reasons=(Reason("r", Decision.QUARANTINE, "see https://evil.example\n<!channel>\u202e"),)
    )
    explanation = said(header=header(hold=hold(), storage=StorageStatus.ARCHIVED, verdict=verdict))
    assert "https://" not in explanation.text
    assert "\n" not in explanation.text
    assert "\u202e" not in explanation.text
