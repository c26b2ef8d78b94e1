"""A blocked digest that is public is alerted, with its gallery address and what can be done about it there."""

from __future__ import annotations

from chalicelib.domain.alerts.verdict_alert import Situation, advise, should_announce
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import parse_policy
from tests.domain.alerts.test_verdict_alert import composed
from tests.fakes.images import digest, ref
from tests.fakes.queries import NOW

PUBLIC = Repository("public/acme", "us-east-1", "team/web").image(digest(1))
GALLERY = "https://gallery.ecr.aws/acme/team/web"
BLOCKED = Verdict(Decision.BLOCK, (Reason("twin", Decision.BLOCK, "so is the same digest"),), 1, NOW)
NOTIFY = parse_policy({"version": 1, "notify": [{"channel": "sns", "min_decision": "block"}]}).notify


def test_people_are_told_of_a_public_image_that_is_blocked_and_where_it_can_be_pulled() -> None:
    assert should_announce(PUBLIC, BLOCKED, None, None, NOTIFY)
    alert = composed(BLOCKED, ref=PUBLIC, tags=("1.0",))
    assert alert.console_url == GALLERY
    assert f"It is public at {GALLERY}: only deleting it there ends that." in alert.what_to_do
    assert any("private repository" in line for line in alert.what_to_do)


def test_a_private_image_has_no_gallery_and_a_deleted_one_cannot_be_pulled() -> None:
    for where, exists in ((ref(1), True), (PUBLIC, False)):
        alert = composed(BLOCKED, ref=where, exists=exists)
        assert not any("It is public at" in line for line in alert.what_to_do)


def test_whoever_waits_for_a_scan_of_a_public_image_is_told_that_none_will_come() -> None:
    pending = Verdict(Decision.PENDING, (Reason("unscanned", Decision.PENDING, "no complete scan"),), 1, NOW)
    advice = advise(Situation(PUBLIC, pending)), advise(Situation(ref(1), pending))
    assert ["ECR Public scans nothing" in " ".join(lines) for lines in advice] == [True, False]
    assert ["see that a scanning rule covers" in " ".join(lines) for lines in advice] == [False, True]
