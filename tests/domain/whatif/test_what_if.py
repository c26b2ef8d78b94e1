"""A candidate policy beside today's: now as it would be decided, and every past day as it would have been."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.assessment.conclusion import conclude
from chalicelib.domain.assessment.merge import merge_rows
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.finding import FindingsDocument, Severity
from chalicelib.domain.images.image import Child, InUse, InUseState, Kind, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.whatif import what_if
from chalicelib.domain.whatif.past import Past, PastNote, state_at
from chalicelib.domain.whatif.what_if import Film, Question, Weighed, WhatIfCase, moments_of, weigh
from tests.fakes.history import COMPLETE, RESOLVED, STEPS, play
from tests.fakes.images import digest, finding, image, ref
from tests.fakes.queries import NOW

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ALLOW = parse_policy({"version": 1})


def policy(*rules: dict[str, Any], **sections: Any) -> Policy:
    named = [{"id": f"r{n}", "decision": "block"} | rule for n, rule in enumerate(rules)]
    return parse_policy({"version": 1, "rules": named} | sections)


POLICIES = [
    ALLOW,
    policy({"match": {"severity": "CRITICAL"}}, {"match": {"severity": {"gte": "HIGH"}}, "decision": "warn"}),
    policy({"match": {"severity": "HIGH"}, "count": {"gte": 2}}, {"match": {"kev": True}, "decision": "quarantine"}),
    policy({"match": {"overdue": True}}, sla_days={"CRITICAL": 2, "HIGH": 5}, suppressed="ignore"),
    policy({"match": {"tag": "v*", "age_days": {"gte": 3}}}, {"match": {"pushed_days": {"gt": 4}}, "decision": "warn"}),
    policy(
        {"match": {"status": "RESOLVED"}}, {"match": {"in_use": True, "score": {"gte": 9}}, "decision": "quarantine"}
    ),
    policy({"match": {"scan_age_days": {"gte": 2}}}, stale={"decision": "block", "after_days": 4}),
    policy({"match": {"not": {"epss": {"lt": 0.5}}}}, {"match": {"package": "zlib"}, "decision": "quarantine"}),
]
WAIVERS = [
    Waiver(
        id=f"w{n}",
        repository="team/*",
        reason="unreachable",
        approved_by="platform security",
        created_at=NOW + begins * DAY,
        expires_at=NOW + ends * DAY,
        **named,
    )
    for n, (begins, ends, named) in enumerate(
        [
            (-5, 40, {"vulnerability_id": "CVE-2026-0001"}),
            (3, 6, {"rule": "r0"}),
            (9, 99, {"vulnerability_id": "CVE-2026-0002", "rule": "r1"}),
        ]
    )
]


def question(candidate: Policy, now: datetime, days: int = 12, *, today: Policy = ALLOW, waivers: Any = ()) -> Question:
    return Question(today, candidate, tuple(waivers), moments_of(now, days))


def asked(case: WhatIfCase, candidate: Policy, now: datetime = NOW, days: int = 12, **more: Any) -> Weighed:
    return weigh(Film(case, question(candidate, now, days, **more)))


def case(*findings: Any, pushed_days: int = 30, **changes: Any) -> WhatIfCase:
    header = image(1, pushed_at=NOW - pushed_days * DAY, known_at=NOW - pushed_days * DAY, **changes)
    return WhatIfCase(header, FindingsDocument(header.ref, 1, findings, Source.ENHANCED))


# ---- now: what applying the candidate would decide


SCANS = st.builds(
    Scan,
    st.sampled_from(list(ScanState)),
    st.none(),
    st.just(Source.ENHANCED),
    st.sampled_from([None, NOW, NOW + 5 * DAY]),
)
HEADERS = st.builds(
    lambda scan, listed, pushed, use, number: image(
        number,
        scan=scan,
        refreshed_at=NOW if listed else None,
        pushed_at=None if pushed is None else NOW + pushed * HOUR,
        known_at=NOW - 3 * DAY,
        in_use=InUse(use),
    ),
    SCANS,
    st.booleans(),
    st.one_of(st.none(), st.integers(-200, 200)),
    st.sampled_from(list(InUseState)),
    st.integers(1, 9),
)


@st.composite
def cases(draw: Any) -> tuple[WhatIfCase, datetime]:
    """An image with a past, or an index of such images, one of them perhaps not known, gone, or no image."""
    source = play(Source.ENHANCED, draw(STEPS))
    now = source.now + draw(st.integers(1, 300)) * HOUR
    header = draw(HEADERS)
    one = WhatIfCase(
        header, msgspec.structs.replace(source.document, ref=header.ref), (image(9, kind=Kind.INDEX, tags=("v9",)),)
    )
    if draw(st.booleans()):
        return one, now
    gone, artifact = (
        WhatIfCase(msgspec.structs.replace(header, ref=header.ref.home.image(digest(n)), **more), one.document)
        for n, more in ((10, {"exists": False, "verdict": None}), (11, {"kind": Kind.ARTIFACT}))
    )
    below = draw(st.lists(st.sampled_from([one, None, gone, artifact]), max_size=3))
    index = msgspec.structs.replace(
        draw(HEADERS),
        ref=header.ref.home.image(digest(12)),
        kind=Kind.INDEX,
        children=tuple(Child(digest(n)) for n in range(len(below))),
    )
    return WhatIfCase(index, FindingsDocument(index.ref), (), tuple(below)), now


def applied(case: WhatIfCase, rules: Rules, now: datetime) -> Header:
    """What the real conclusion makes of it, children first."""
    below = [c for c in case.children if c is None or c.header.kind is not Kind.ARTIFACT]
    children = [VerdictSummary(Decision.PENDING) if c is None else applied(c, rules, now).standing for c in below]
    return conclude(case.header, case.document, rules, now, children=children, indexes=case.indexes)


@settings(max_examples=300, deadline=None)
@given(cases(), st.sampled_from(POLICIES), st.sampled_from(POLICIES))
def test_as_of_now_it_says_what_applying_the_candidate_would_decide(
    made: tuple[WhatIfCase, datetime], today: Policy, candidate: Policy
) -> None:
    case, now = made
    weighed = asked(case, candidate, now, today=today, waivers=WAIVERS)
    for ruling, rules in ((weighed.today, today), (weighed.candidate, candidate)):
        verdict = applied(case, Rules(rules, tuple(WAIVERS)), now).verdict
        assert verdict is not None
        assert ruling.decision is verdict.decision
        if verdict.reasons:
            first = verdict.reasons[0]
            said = (ruling.rule, ruling.detail, ruling.count, ruling.vulnerability_ids)
            assert said == (first.rule, first.detail, first.count, first.vulnerability_ids)


# ---- the past: each day decided on its own


@settings(max_examples=200, deadline=None)
@given(cases(), st.sampled_from(POLICIES))
def test_a_day_on_which_nothing_changed_is_not_decided_again_and_is_still_right(
    made: tuple[WhatIfCase, datetime], candidate: Policy
) -> None:
    case, now = made
    weighed = asked(case, candidate, now, days=20, waivers=WAIVERS)
    by_day = {day.day: day.candidate.decision for day in weighed.past}
    start = case.header.pushed_at or case.header.known_at
    for at in moments_of(now, 20)[:-1]:
        assert (at.date() in by_day) is (start is not None and start <= at)
        if at.date() in by_day:
            assert by_day[at.date()] is alone(case, candidate, at), at


def alone(case: WhatIfCase, candidate: Policy, at: datetime) -> Decision:
    """One day decided with nothing in mind."""
    children = []
    for child in case.children:
        if child is None:
            children.append(VerdictSummary(Decision.PENDING))
        elif child.header.kind is not Kind.ARTIFACT:
            begun = (child.header.pushed_at or child.header.known_at) <= at
            if not child.header.present:
                children.append(child.header.standing)
            else:
                children.append(VerdictSummary(alone(child, candidate, at) if begun else Decision.PENDING))
    state = state_at(case.header.state(children, case.indexes), at)
    waivers = [w for w in WAIVERS if w.created_at <= at]
    return decide(state, Past(case.document).findings(at), candidate, waivers, at).verdict.decision


def test_nothing_is_decided_twice_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    decided: list[datetime] = []

    def counting(*arguments: Any) -> Any:
        decided.append(arguments[-1])
        return decide(*arguments)

    monkeypatch.setattr(what_if, "decide", counting)
    one = case(finding(1, first_seen=NOW - 20 * DAY))
    asked(one, ALLOW, days=90)
    assert len(decided) < 2 * (1 + 4)  # of two policies: now, the first day, the finding, the scan


# ---- stories


BLOCKS_HIGH = policy({"match": {"severity": {"gte": "HIGH"}}})


def days_closed(weighed: Weighed) -> list[date]:
    return [day.day for day in weighed.past if day.candidate.closes]


def test_a_finding_closes_the_image_from_its_first_day_until_its_last() -> None:
    gone = finding(1, first_seen=NOW - 6 * DAY, status=RESOLVED, resolved_at=NOW - 3 * DAY, updated_at=NOW - 3 * DAY)
    weighed = asked(case(gone), BLOCKS_HIGH)
    assert days_closed(weighed) == [(NOW - n * DAY).date() for n in (6, 5, 4)]
    assert (weighed.candidate.decision, weighed.today.decision) == (Decision.ALLOW, Decision.ALLOW)
    assert {day.today.decision for day in weighed.past} == {Decision.ALLOW}
    (first, *_) = [day for day in weighed.past if day.candidate.closes]
    assert (first.candidate.rule, first.candidate.vulnerability_ids) == ("r0", ("CVE-2026-0001",))


def test_a_flaw_rated_worse_yesterday_did_not_close_the_image_before() -> None:
    low = finding(1, Severity.LOW, first_seen=NOW - 9 * DAY, updated_at=NOW - 9 * DAY)
    document = FindingsDocument(ref(1), 1, (low,), Source.ENHANCED)
    worse = finding(1, Severity.HIGH, first_seen=NOW - 9 * DAY, updated_at=NOW - DAY)
    document = merge_rows(document, [worse]).document
    weighed = asked(msgspec.structs.replace(case(), document=document), BLOCKS_HIGH)
    assert days_closed(weighed) == [(NOW - DAY).date()]
    assert weighed.candidate.closes


def test_there_is_no_day_before_the_push() -> None:
    weighed = asked(case(finding(1), pushed_days=3), BLOCKS_HIGH, days=30)
    assert [day.day for day in weighed.past] == [(NOW - n * DAY).date() for n in (3, 2, 1)]


def test_an_image_that_was_never_listed_was_pending_all_along() -> None:
    weighed = asked(case(finding(1), refreshed_at=None, scan=Scan()), policy(unscanned={"then": "block"}), days=3)
    assert [day.candidate.decision for day in weighed.past] == [Decision.BLOCK] * 3
    assert {day.candidate.rule for day in weighed.past} == {"unscanned"}
    assert {day.today.decision for day in weighed.past} == {Decision.PENDING}


def test_a_scan_that_lapsed_ages_from_the_last_one_and_nothing_is_said_of_the_days_before_that() -> None:
    lapsed = Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED", Source.ENHANCED, NOW - 6 * DAY)
    weighed = asked(case(scan=lapsed), policy(stale={"decision": "block", "after_days": 4}), days=9)
    assert days_closed(weighed) == [(NOW - n * DAY).date() for n in (2, 1)]
    assert weighed.candidate.closes


def test_a_waiver_excuses_from_the_day_it_was_given_until_its_end() -> None:
    given = Waiver(
        id="w",
        repository="team/*",
        reason="unreachable",
        approved_by="platform security",
        vulnerability_id="CVE-2026-0001",
        created_at=NOW - 5 * DAY,
        expires_at=NOW - 2 * DAY,
    )
    weighed = asked(case(finding(1, first_seen=NOW - 9 * DAY)), BLOCKS_HIGH, days=7, waivers=[given])
    assert days_closed(weighed) == [(NOW - n * DAY).date() for n in (7, 6, 2, 1)]
    assert weighed.candidate.closes


def test_an_index_was_as_bad_as_the_worst_of_its_images_and_its_own_rules() -> None:
    child = case(finding(1, first_seen=NOW - 3 * DAY))
    clean = case()
    index = WhatIfCase(
        image(7, kind=Kind.INDEX, pushed_at=NOW - 9 * DAY, children=(Child(digest(1)), Child(digest(2)))),
        FindingsDocument(ref(7)),
        (),
        (child, clean),
    )
    weighed = asked(index, BLOCKS_HIGH, days=5)
    assert days_closed(weighed) == [(NOW - n * DAY).date() for n in (3, 2, 1)]
    assert weighed.past[-1].candidate.rule == "child"
    assert PastNote.CHILDREN in weighed.past[0].notes


def test_an_index_is_named_by_the_tags_its_images_are_known_by() -> None:
    index = image(9, kind=Kind.INDEX, tags=("prod",))
    one = msgspec.structs.replace(case(finding(1), tags=()), indexes=(index,))
    assert asked(one, policy({"match": {"tag": "prod", "severity": "HIGH"}})).candidate.closes


def test_each_past_day_says_that_tags_and_use_are_those_of_today() -> None:
    weighed = asked(case(finding(1)), BLOCKS_HIGH, days=5)
    assert weighed.past
    assert all({PastNote.TAGS, PastNote.IN_USE} <= set(day.notes) for day in weighed.past)


def test_days_of_which_something_may_be_forgotten_say_so() -> None:
    known_since = msgspec.structs.replace(question(BLOCKS_HIGH, NOW, 5), known_since=NOW - 2 * DAY)
    weighed = weigh(Film(case(finding(1)), known_since))
    assert [PastNote.BEFORE_HISTORY in day.notes for day in weighed.past] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("changes", "hangs"),
    [({}, True), ({"kev": False}, False), ({"source": Source.BASIC}, False), ({"status": RESOLVED}, False)],
)
def test_an_answer_that_hangs_on_kev_nobody_asked_for_is_said_to(changes: dict[str, Any], hangs: bool) -> None:
    kev = policy({"match": {"kev": True}})
    assert asked(case(finding(1, **changes)), kev).kev_open is hangs
    assert not asked(case(finding(1)), BLOCKS_HIGH).kev_open


def test_days_end_at_their_last_second_and_now_is_last() -> None:
    now = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
    assert moments_of(now, 2) == (
        datetime(2026, 2, 27, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC),
        now,
    )
    assert moments_of(now, 0) == (now,)


def test_nothing_of_what_is_asked_about_is_changed() -> None:
    one = case(finding(1), scan=COMPLETE)
    copy = msgspec.json.encode((one.header, one.document))
    asked(one, BLOCKS_HIGH)
    assert msgspec.json.encode((one.header, one.document)) == copy
