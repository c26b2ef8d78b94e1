"""Calls of others that touch what Lazaretto relies on: who, when, from where, in every mode; and the same for our own
calls, which are not told. They come as CloudTrail events, through the readers."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.enforcement.repository_policy import with_statement
from chalicelib.domain.images.image import StorageStatus
from chalicelib.domain.tampering.tampering import SETTINGS
from chalicelib.parsers.events.events import parse_event
from chalicelib.services.enforcement.give_order import release_image
from tests.fakes.policies import statement
from tests.services.enforcement.test_check_deny import THEIRS, Denying
from tests.services.enforcement.test_enforce_verdict import Acting
from tests.services.world import new_ref

OURS = "arn:aws:iam::111122223333:role/lazaretto-on-actions"
INTRUDER = "arn:aws:iam::111122223333:role/ops/intruder"
SESSION = "arn:aws:sts::111122223333:assumed-role/intruder/eve"
LAYERS = ["sha256:" + digit * 64 for digit in "ab"]


def call(world: Any, name: str, role: str = INTRUDER, *, event_id: str = "one", **parameters: Any) -> Any:
    """`answer`: the response; `at`: when; `error`: its code."""
    at = parameters.pop("at", world.moment)
    detail = {
        "eventName": name,
        "eventSource": parameters.pop("source", "ecr.amazonaws.com"),
        "eventTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "sourceIPAddress": "192.0.2.44",
        "errorCode": parameters.pop("error", None),
        "userIdentity": {"arn": SESSION, "sessionContext": {"sessionIssuer": {"arn": role}}},
        "responseElements": parameters.pop("answer", None),
        "requestParameters": {"repositoryName": world.ref.repository, **parameters},
    }
    envelope = {"account": world.ref.registry, "region": world.ref.region, "resources": [], "id": event_id}
    source = "aws." + detail["eventSource"].partition(".")[0]
    kind = {"source": source, "detail-type": "AWS API Call via CloudTrail", "time": detail["eventTime"]}
    return parse_event({**envelope, **kind, "detail": detail})


def alarms(world: Any, *events: Any) -> list[Any]:
    before = len(world.told)
    world.receive(*events)
    world.drain()
    return [alert for alert in world.told[before:] if alert.event == "tampering"]


def told(world: Any, event: Any) -> Any:
    """The one alert, which says who, when and from where."""
    (alert,) = alarms(world, event)
    for part in (SESSION, "192.0.2.44", f"{world.moment:%Y-%m-%d %H:%M:%S} UTC", world.ref.registry):
        assert part in alert.notes[0]
    return alert


def observed(world: Any) -> Any:
    world.change_policy(
        mode="observe", **({"rules": world.rules_of_policy} if hasattr(world, "rules_of_policy") else {})
    )
    world.drain()
    return world


MODES = pytest.mark.parametrize("mode", ["enforce", "observe"])


@MODES
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_each_setting_that_others_change_is_told_in_every_mode(name: str, mode: str) -> None:
    story = Acting(mode=mode)
    assert "Setting changed" in told(story, call(story, name, imageTagMutability="MUTABLE")).title


def test_what_our_own_functions_call_what_failed_and_what_is_heard_again_is_not_told() -> None:
    story = Acting()
    own, failed = call(story, "PutLifecyclePolicy", OURS), call(story, "PutLifecyclePolicy", error="AccessDenied")
    assert not alarms(story, own, failed)
    again = call(story, "PutLifecyclePolicy")
    assert len(alarms(story, again, again)) == 1
    assert not alarms(story, again)


def test_a_session_that_only_calls_itself_like_ours_is_told() -> None:
    story = Acting()
    event = call(story, "DeleteRegistryPolicy", "arn:aws:iam::111122223333:role/evil/lazaretto-on-actions")
    assert told(story, event)


@MODES
@pytest.mark.parametrize(
    ("name", "text"),
    [("DeleteRepositoryPolicy", None), ("SetRepositoryPolicy", THEIRS), ("SetRepositoryPolicy", "changed")],
)
def test_a_deny_taken_out_is_told_with_who_did_it(name: str, text: str | None, mode: str) -> None:
    story = Denying()
    if mode == "observe":
        story.observe()
    if text == "changed":
        text = with_statement(None, [*story.own_roles, INTRUDER])
    alert = told(story, call(story, name, **({"policyText": text} if text else {})))
    assert "Deny of pulls taken out" in alert.title
    assert story.ref.digest[:19] in alert.notes[1]


def test_it_is_told_though_the_clock_put_the_deny_right_before_the_event_came() -> None:
    story = Denying()
    at = story.moment
    story.replace(None).turn()
    assert story.stands
    (alert,) = alarms(story, call(story, "DeleteRepositoryPolicy", at=at))
    assert "Deny of pulls taken out" in alert.title
    assert story.stands


def test_a_policy_that_keeps_the_deny_is_a_changed_setting() -> None:
    story = Denying()
    kept = with_statement(THEIRS, story.own_roles)
    assert "Setting changed" in told(story, call(story, "SetRepositoryPolicy", policyText=kept)).title


class Quarantined(Acting):
    """The one image is archived by us."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[self.ref] = tuple(LAYERS)
        self.worsen()
        assert self.storage is StorageStatus.ARCHIVED

    def observing(self) -> Quarantined:
        self.change_policy(mode="observe")
        self.drain()
        return self


@MODES
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("UpdateImageStorageClass", {"imageId": "ID", "targetStorageClass": "STANDARD"}),
        ("BatchDeleteImage", {"imageIds": ["ID"]}),
        ("BatchDeleteImage", {"imageIds": [{"imageTag": "v1"}]}),
        ("DeleteRepository", {"force": True}),
    ],
)
def test_quarantined_evidence_that_others_restore_or_delete_is_told(name: str, parameters: Any, mode: str) -> None:
    story = Quarantined()
    if mode == "observe":
        story.observing()
    text = json.dumps(parameters).replace('"ID"', json.dumps({"imageDigest": story.ref.digest}))
    alert = told(story, call(story, name, **json.loads(text)))
    assert "quarantined image was" in alert.title
    assert str(story.ref) in alert.notes[1]


def test_it_is_told_though_the_deletion_was_heard_before() -> None:
    story = Quarantined()
    gone = story.one.action("DELETE", tag="v1")
    story.one.change(exists=False, tags=())
    story.moment += timedelta(minutes=5)
    story.receive(gone, story.one.action("DELETE"))
    story.drain()
    assert told(story, call(story, "BatchDeleteImage", imageIds=[{"imageTag": "v1"}]))


def test_what_is_not_quarantined_may_be_restored_and_deleted() -> None:
    story = Acting()
    ids = [{"imageDigest": story.ref.digest}]
    assert not alarms(story, call(story, "BatchDeleteImage", imageIds=ids))
    story = Quarantined()
    away = call(story, "UpdateImageStorageClass", imageId=ids[0], targetStorageClass="ARCHIVE")
    assert not alarms(story, away)
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert not alarms(story, call(story, "BatchDeleteImage", imageIds=[{"imageDigest": story.ref.digest}]))


def test_a_deletion_that_ecr_refused_for_each_image_is_not_told() -> None:
    story = Quarantined()
    ids = [{"imageDigest": story.ref.digest}]
    answer = {"imageIds": [], "failures": [{"imageId": ids[0], "failureCode": "ImageReferencedByManifestList"}]}
    assert not alarms(story, call(story, "BatchDeleteImage", imageIds=ids, answer=answer))


def pushed(world: Any, digest: str, tag: str, layers: list[str]) -> Any:
    manifest = {
        "schemaVersion": 2,
        "config": {"digest": "sha256:" + "c" * 64, "size": 2},
        "layers": [{"digest": layer, "size": 1} for layer in layers],
    }
    answer = {"image": {"imageId": {"imageDigest": digest, "imageTag": tag}}}
    return call(world, "PutImage", imageTag=tag, imageManifest=json.dumps(manifest), answer=answer)


def test_a_push_that_takes_the_tag_of_a_quarantined_image_is_told() -> None:
    story = Quarantined()
    alert = told(story, pushed(story, new_ref().digest, "v1", ["sha256:" + "d" * 64]))
    assert "robbed of a tag" in alert.title


def test_a_quarantined_image_that_others_push_again_is_told() -> None:
    """ECR takes it out of the archive."""
    story = Quarantined()
    alert = told(story, pushed(story, story.ref.digest, "v1", LAYERS))
    assert "pushed again" in alert.title
    assert alert.notes[1:] == (f"Quarantined by Lazaretto: {story.ref}",)


def test_the_layers_pushed_under_the_tag_of_the_quarantined_image_are_told_with_an_order_as_well() -> None:
    story = Quarantined()
    titles = {alert.title: alert for alert in alarms(story, pushed(story, new_ref().digest, "v1", LAYERS))}
    robbed, layers = sorted(titles)
    assert "robbed of a tag" in robbed
    assert "lazaretto quarantine" in titles[layers].what_to_do[0]


EMPTY = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"


@pytest.mark.parametrize("same", [[*reversed(LAYERS)], [*LAYERS, LAYERS[0]], [EMPTY, *LAYERS]])
def test_order_repetition_and_empty_layers_hide_nothing(same: list[str]) -> None:
    story = Quarantined()
    assert "layers of a quarantined image" in told(story, pushed(story, new_ref().digest, "v2", same)).title


def test_a_push_reads_no_list_of_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a push costs must not grow with what lies beside it."""
    story = Quarantined()
    monkeypatch.setattr(story.stored, "headers_of", lambda _: pytest.fail("all images of the repository were read"))
    assert told(story, pushed(story, new_ref().digest, "v2", LAYERS))
    assert not alarms(story, pushed(story, new_ref().digest, "v3", ["sha256:" + "d" * 64]))


def test_the_layers_of_what_a_person_released_are_no_news() -> None:
    story = Quarantined()
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert not alarms(story, pushed(story, new_ref().digest, "v2", LAYERS))


def test_the_layers_of_a_quarantined_image_pushed_as_another_digest_are_told_with_an_order() -> None:
    story, digest = Quarantined(), new_ref().digest
    alert = told(story, pushed(story, digest, "v2", LAYERS))
    assert "layers of a quarantined image" in alert.title
    assert str(story.ref) in alert.notes[2]
    assert f"lazaretto quarantine {story.ref.home.image(digest)}" in alert.what_to_do[0]


def test_other_layers_and_an_unreadable_manifest_are_no_news() -> None:
    story = Quarantined()
    assert not alarms(story, pushed(story, new_ref().digest, "v2", LAYERS[:1]))
    broken = call(story, "PutImage", imageTag="v3", imageManifest="{", imageDigest=new_ref().digest)
    assert not alarms(story, broken)


def test_a_statement_that_our_write_overwrote_is_quoted() -> None:
    """Put between our reading and our write: the one change that reading back does not show."""
    story = Denying()
    late = json.dumps({"Version": "2012-10-17", "Statement": [statement("late")]})
    wrote = story.stored.read_denied(story.home).wrote
    assert wrote is not None
    (alert,) = alarms(story, call(story, "SetRepositoryPolicy", policyText=late, at=wrote.began_at))[:1]
    assert "overwritten" in alert.title
    assert json.loads(alert.notes[2]) == statement("late")
    after = call(
        story, "SetRepositoryPolicy", policyText=late, at=wrote.ended_at + timedelta(seconds=2), event_id="two"
    )
    assert not [a for a in alarms(story, after) if "overwritten" in a.title]


def test_calls_of_ecr_public_are_told_with_their_repository() -> None:
    story = Acting()
    alert = told(story, call(story, "SetRepositoryPolicy", source="ecr-public.amazonaws.com", policyText="{}"))
    assert "ECR Public" in alert.title
    assert any(story.ref.repository in note for note in alert.notes)
