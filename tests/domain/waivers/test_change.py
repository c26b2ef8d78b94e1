"""What a change of a waiver says of itself: which images, in which words, undone by which command."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.headers.header import sketch_of
from chalicelib.domain.images.finding import Finding, Severity
from chalicelib.domain.images.image import Source
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver, WaiverState, waiver_id
from chalicelib.domain.waivers.change import WaiverChange, concerns, named, said, unwaive_command, waive_command

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE = Waiver(
    id="w-0000000001",
    repository="team/*",
    vulnerability_id="CVE-2026-0001",
    reason="not reachable",
    approved_by="platform security",
    created_at=NOW,
    expires_at=NOW + timedelta(days=30),
)


def changed(**changes: Any) -> Waiver:
    return msgspec.structs.replace(ONE, **changes)


def sketch(*ids: str) -> bytes:
    return sketch_of([Finding(ids[0], Severity.HIGH, "HIGH", Source.BASIC, "f", related_ids=ids[1:])])


def test_an_image_is_concerned_by_repository_and_sketch_related_ids_included() -> None:
    assert concerns(ONE, "team/api", sketch("CVE-2026-0001"))
    assert concerns(ONE, "team/api", sketch("ALAS-1", "CVE-2026-0001"))
    assert not concerns(ONE, "prod/api", sketch("CVE-2026-0001"))
    assert not concerns(ONE, "team/api", sketch("CVE-2026-0002"))
    assert concerns(ONE, "team/api", b"", sketch_tells=False)
    assert concerns(changed(vulnerability_id=None, rule="r"), "team/api", b"")


def test_only_a_new_waiver_for_a_rule_has_nothing_to_change_where_nothing_is_punished() -> None:
    rule = changed(vulnerability_id=None, rule="r")
    for former, waiver, allowed in ((None, rule, False), (rule, rule, True), (rule, None, True), (None, ONE, True)):
        change = WaiverChange(former=former, waiver=waiver, by="person:oncall", at=NOW)
        assert change.may_change(Decision.ALLOW) is allowed
        assert change.may_change(Decision.BLOCK)


def test_what_it_excuses_and_what_is_vouched_for_is_one_line() -> None:
    assert named(ONE) == "CVE-2026-0001 in team/*"
    assert named(changed(package="openssl", rule="r")) == "CVE-2026-0001 (package openssl, from rule r) in team/*"
    assert named(changed(vulnerability_id=None, rule="r")) == "rule r in team/*"
    vex = changed(
        reason="two\nlines", status=VexStatus.NOT_AFFECTED, justification=VexJustification.COMPONENT_NOT_PRESENT
    )
    assert said(vex) == (
        "CVE-2026-0001 in team/*: two lines [not_affected component_not_present]; "
        "approved by platform security, until 2026-03-31 12:00 UTC"
    )


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_every_word_of_a_command_is_one_word_for_a_shell(text: str) -> None:
    words = shlex.split(waive_command(changed(reason=text, approved_by=text, package=text)))
    assert words[:2] == ["lazaretto", "waive"]
    assert words[-1] == "--allow-unmatched", "what is brought back may be in no image by now"
    said = dict(zip(words[2:-1:2], words[3:-1:2], strict=True))
    assert said["--reason"] == said["--approved-by"] == said["--package"] == text
    assert said["--expires"] == "2026-03-31T12:00:00Z"
    assert shlex.split(unwaive_command("w-0000000001", text))[-1] == text


def test_an_id_is_made_of_what_is_named_and_of_nothing_else() -> None:
    assert waiver_id("team/*", "CVE-1", None, None) == waiver_id("team/*", "CVE-1", None, None)
    others = [
        ("team/*", None, None, "CVE-1"),
        ("team/*", "CVE-1", "p", None),
        ("team/*", "CVE-1", None, "p"),
        ("team/", "*CVE-1", None, None),
        ("team/*", "CVE-1", "", None),
    ]
    ids = {waiver_id(*o) for o in [("team/*", "CVE-1", None, None), *others]}
    assert len(ids) == len(others) + 1
    assert all(len(i) == 12 and i.startswith("w-") for i in ids)


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (timedelta(days=7, microseconds=1), WaiverState.IN_FORCE),
        (timedelta(days=7), WaiverState.EXPIRING),
        (timedelta(microseconds=1), WaiverState.EXPIRING),
        (timedelta(0), WaiverState.EXPIRED),
    ],
)
def test_the_last_week_is_expiring_and_the_end_itself_is_over(left: timedelta, state: WaiverState) -> None:
    assert ONE.state(ONE.expires_at - left) is state


def test_a_change_of_no_waiver_is_none() -> None:
    with pytest.raises(ValueError):
        WaiverChange(former=None, waiver=None, by="person:oncall", at=NOW).subject  # noqa: B018
