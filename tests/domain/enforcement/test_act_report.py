"""What people read of an act that no alert of a verdict tells."""

from __future__ import annotations

from chalicelib.domain.alerts.alert import Alert, AlertDetails
from chalicelib.domain.enforcement.act_report import compose_act_report
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order, PendingReport
from chalicelib.domain.images.verdict import Decision
from tests.domain.alerts.test_verdict_alert import ALLOW, NOW, QUARANTINE, REF, verdict


def report(said: str, decision: Decision = QUARANTINE, former: Decision | None = None, **beside) -> Alert:
    effect = PendingReport(1, NOW, QUARANTINE, former, said=said, event="verdict")
    header = Header(ref=REF, exists=True, verdict=verdict(decision), **beside.pop("header", {}))
    return compose_act_report(header, effect, AlertDetails(**beside), NOW)


def test_a_report_of_an_act_says_it_once_and_claims_no_change_of_the_verdict():
    short = report("released (archive)", former=QUARANTINE)
    assert (short.title, short.notes) == (f"prod/api@{REF.digest[:19]}: released (archive)", ())
    assert dict(short.facts)["Decision"] == "QUARANTINE (verdict 1)"
    long = "failed: " + "x" * 100
    assert report(long).notes == (long,)
    assert report(long, registry=(f"{long}.",)).notes == ()
    assert report(f"To be quarantined (archive): not done, tried again: {long}").title.endswith(
        ": To be quarantined (archive): not done"
    )


def test_a_report_of_what_a_person_ordered_does_not_give_the_act_for_the_verdict():
    ordered = report("quarantined (archive)", ALLOW)
    assert ordered.decision is QUARANTINE
    assert dict(ordered.facts)["Decision"] == "ALLOW (verdict 1)"


def test_a_release_is_offered_where_none_was_given():
    command = f"To have it pulled all the same: lazaretto release {REF} --reason WHY"
    released = Order(ActionType.RELEASE, "oncall", "needed", NOW)
    assert command in report("quarantined (archive)").what_to_do
    assert command not in report("released (archive)", header={"order": released}).what_to_do
