"""What people read of an act that no alert of a verdict tells."""

from __future__ import annotations

from chalicelib.domain.enforcement.act_report import compose_act_report
from tests.domain.alerts.test_verdict_alert import ALLOW, NOW, QUARANTINE, REF, verdict


def test_a_report_of_an_act_says_it_once_and_claims_no_change_of_the_verdict():
    facts = {"ref": REF, "event": "verdict", "decision": QUARANTINE, "former": QUARANTINE, "now": NOW}
    short = compose_act_report(said="released (archive)", verdict=verdict(QUARANTINE), **facts)
    assert (short.title, short.notes) == (f"prod/api@{REF.digest[:19]}: released (archive)", ())
    assert dict(short.facts)["Decision"] == "QUARANTINE (verdict 1)"
    long = "failed: " + "x" * 100
    assert compose_act_report(said=long, **facts).notes == (long,)
    assert compose_act_report(said=long, registry=(f"{long}.",), **facts).notes == ()
    held = compose_act_report(said=f"To be quarantined (archive): not done, tried again: {long}", **facts)
    assert held.title.endswith(": To be quarantined (archive): not done")


def test_a_report_of_what_a_person_ordered_does_not_give_the_act_for_the_verdict():
    facts = {"ref": REF, "event": "verdict", "decision": QUARANTINE, "former": None, "now": NOW}
    report = compose_act_report(said="quarantined (archive)", verdict=verdict(ALLOW), **facts)
    assert report.decision is QUARANTINE
    assert dict(report.facts)["Decision"] == "ALLOW (verdict 1)"
