"""What a what-if says is due is what applying the policy then has done: image by image, act by act, and what waits.

Acts are done here as soon as nothing holds them, without fuse and brake; what gives back goes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.enforcement import next_acts
from chalicelib.domain.enforcement.pull_brake import braked_until
from chalicelib.domain.events.message import Decide, WhatIf
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType, Hold, Holding, Order
from chalicelib.domain.images.image import ImageDetail, ImageRef, Kind, StorageStatus
from chalicelib.domain.whatif.report import WhatIfReport
from chalicelib.services.assessment.write_header import indexes_of, members_of, needing
from chalicelib.services.enforcement.check_preconditions import check_preconditions
from chalicelib.services.enforcement.read_state import RegistryState
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.policy.start_what_if import read_what_if, start_what_if
from tests.services.judged import DAY, NOW, Judged, JudgedContext

Due = dict[ImageRef, dict[ActionType, Holding | None]]
IMAGES = 40
DECISIONS = ("warn", "block", "quarantine", "quarantine")
KINDS = {"QUARANTINE": "quarantined", "BLOCK": "denied", "RELEASE": "released", "UNBLOCK": "released"}


@st.composite
def policies(draw: Any) -> dict[str, Any]:
    def rule(name: str, match: Mapping[str, Any]) -> dict[str, Any]:
        decision = draw(st.sampled_from(DECISIONS))
        enforce = {"enforce": "repository-policy"} if decision == "block" and draw(st.booleans()) else {}
        return {"id": name, "match": match, "decision": decision, **enforce}

    rules = [
        rule("high", {"severity": {"gte": draw(st.sampled_from(["MEDIUM", "HIGH", "CRITICAL"]))}}),
        rule("tagged", {"tag": draw(st.sampled_from([["v3*"], ["latest", "v1*"], ["dev"]]))}),
        rule("one", {"vulnerability_id": f"CVE-2026-000{draw(st.integers(1, 7))}"}),
    ]
    quarantine = {
        "when_running": draw(st.sampled_from(["alert", "proceed"])),
        "grace_minutes": draw(st.sampled_from([0, 0, 30])),
        "max_per_hour": draw(st.sampled_from([2, 20])),
    }
    return {
        "version": 1,
        "mode": draw(st.sampled_from(["observe", "enforce", "enforce"])),
        "exempt": {"repository": draw(st.sampled_from([[], ["team-1/*"], ["team-0/api", "team-2/*"]]))},
        "quarantine": quarantine,
        "in_use": {"quiet_days": draw(st.sampled_from([0, 7]))},
        "rules": rules,
    }


@settings(max_examples=50)
@given(policies(), policies(), st.integers(0, 10_000))
def test_what_it_says_is_due_applying_it_then_does(today: Any, candidate: Any, seed: int) -> None:
    judged = Judged(JudgedContext())
    apply_policy(text_of(today), "oncall", judged.context)
    refs = judged.fill(IMAGES, seed)
    act_on_some(judged, refs, Random(seed))

    report = asked(judged, text_of(candidate))

    apply_policy(text_of(candidate), "oncall", judged.context)
    judged.carry_policy()
    settle(judged, refs)
    due = play(judged, refs)
    said = {row.ref: {act.kind: act.waits for act in row.acts} for row in report.rows if row.acts}
    assert {ref: (said.get(ref), due.get(ref)) for ref in refs if said.get(ref) != due.get(ref)} == {}
    assert report.tally.acts == totals(due)


def text_of(policy: Mapping[str, Any]) -> str:
    return msgspec.json.encode(policy).decode()


def asked(judged: Judged, text: str) -> WhatIfReport:
    job = start_what_if(judged.context.rules.policy_of(text), 0, "oncall", judged.context)
    judged.pump(WhatIf)
    report = read_what_if(job.id, judged.context)
    assert (report.done, report.rows_left_out, report.tally.unreadable) == (True, 0, 0)
    return report


def act_on_some(judged: Judged, refs: list[ImageRef], random: Random) -> None:
    """Held, half restored, denied, ordered, pulled: whatever may have been done to an image."""
    for header in judged.headers(refs).values():
        hold = Hold("archive", 1, NOW - DAY)
        orders = [
            Order(ActionType.QUARANTINE, "oncall", "as agreed", NOW - DAY),
            Order(ActionType.QUARANTINE, "oncall", "as agreed", NOW - DAY, force=True),
            Order(ActionType.QUARANTINE, SYSTEM, "the copy of one that is", NOW - DAY),
            Order(ActionType.RELEASE, "oncall", "as agreed", NOW - DAY, until=NOW + DAY),
            Order(ActionType.RELEASE, "oncall", "as agreed", NOW - DAY, restores=True, until=NOW + DAY),
        ]
        more: list[dict[str, Any]] = [
            {"hold": hold, "storage": StorageStatus.ARCHIVED},
            {"hold": hold, "storage": StorageStatus.ACTIVATING},
            {"denied": True},
            {"order": random.choice(orders)},
            {"order": random.choice(orders), "hold": hold, "storage": StorageStatus.ARCHIVED},
            {"held_until": NOW - timedelta(hours=2)},
            {"pulled_at": NOW - timedelta(hours=1)},
        ]
        if header.exists and header.kind is not Kind.ARTIFACT and random.random() < 0.5:
            judged.context.table.put_header(msgspec.structs.replace(header, **random.choice(more)))
    settle(judged, refs)


def settle(judged: Judged, refs: list[ImageRef]) -> None:
    """Twice, as the clock comes to each image again: an image hangs on its indexes, and they on it."""
    for ref in (*refs, *refs):
        judged.context.outbox.send("scans", Decide(ref, "first", quiet=True))
    judged.pump()


def play(judged: Judged, refs: list[ImageRef]) -> Due:
    """Until nothing more is done; what was done to each image, and what waits."""
    due: Due = {}
    while True:
        judged.pump(Decide)
        open_acts = [h for h in judged.headers(refs).values() if h.act and h.present and h.kind is not Kind.ARTIFACT]
        ready = [(h, waits) for h in open_acts if (waits := waiting(judged, h)) is None]
        if not ready:
            return {
                **due,
                **{h.ref: {**due.get(h.ref, {}), **acts_of(judged, h)} for h in open_acts},
            }
        back = [h for h, _ in ready if h.act is not None and not h.act.kind.takes_away]
        for header in back or [h for h, _ in ready]:
            assert header.act is not None
            due.setdefault(header.ref, {})[header.act.kind] = None
            do(judged, header)


def acts_of(judged: Judged, header: Header) -> dict[ActionType, Holding | None]:
    """The act that waits, and what follows it, which waits alike."""
    assert header.act is not None
    rules = judged.context.rules.fresh()
    needed_by = needing(indexes_of(header, judged.context), rules)
    after = [a for a in next_acts(header, rules.policy, needed_by, NOW) if a.kind is not header.act.kind]
    acts = [header.act, *(msgspec.structs.replace(header.act, kind=act.kind, held=act.held) for act in after)]
    return {act.kind: waiting(judged, msgspec.structs.replace(header, pending=(act,))) for act in acts}


def waiting(judged: Judged, header: Header) -> Holding | None:
    """As the worker of the act finds it; fuse and brake let all pass."""
    act, policy = header.act, judged.context.rules.fresh().policy
    assert act is not None
    images = members_of(header, judged.context) if header.kind is Kind.INDEX else ()
    verdicts = [one.verdict for one in (header, *images) if one is not None and one.verdict is not None]
    reasons = [reason for verdict in verdicts for reason in verdict.reasons]
    quiet = braked_until(header, reasons, policy) if act.kind.takes_away else None
    state = RegistryState(NOW, ImageDetail(header.ref))
    held = check_preconditions(header, act, state, policy, NOW, quiet, lambda: None)
    return held.why if held is not None else None


def do(judged: Judged, header: Header) -> None:
    act = header.act
    assert act is not None
    done: dict[ActionType, dict[str, Any]] = {
        ActionType.QUARANTINE: {"hold": Hold("archive", act.number, NOW), "storage": StorageStatus.ARCHIVED},
        ActionType.RELEASE: {"hold": None, "storage": StorageStatus.ACTIVE},
        ActionType.BLOCK: {"denied": True},
        ActionType.UNBLOCK: {"denied": False},
    }
    after = msgspec.structs.replace(header, pending=header.notices, **done[act.kind])
    judged.context.table.put_header(after)
    for ref in (header.ref, *(header.ref.home.image(parent) for parent in header.parents)):
        judged.context.outbox.send("scans", Decide(ref, "first", quiet=True))


def totals(due: Due) -> Counter[str]:
    found: Counter[str] = Counter()
    for acts in due.values():
        done = {kind: waits for kind, waits in acts.items() if waits is not Holding.OBSERVE}
        held = {"held"} if {Holding.RUNNING, Holding.QUIET} & set(done.values()) else set()
        found.update({KINDS[kind] for kind in done} | held | ({"observed"} if len(done) < len(acts) else set()))
    return found
