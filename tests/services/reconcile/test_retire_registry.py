"""A registry is retired in parts: killed at any call, run twice, or out of time, it ends the same and is told once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.events.message import Decide, SendAlert
from chalicelib.domain.events.sweep_message import RetireRegistry
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import (
    SYSTEM,
    ActionType,
    Enforcement,
    Hold,
    Mirror,
    Order,
    PendingAct,
    PendingAlert,
    Stage,
)
from chalicelib.domain.images.image import Kind, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.reconcile.retirement import RetiredCounts, Retirement, count_retired, retired
from chalicelib.domain.replication.replica import Replica, ReplicaStatus, ReplicationState
from chalicelib.domain.replication.rules import Destination, DestinationAccess
from chalicelib.domain.retention.legal_hold import LegalHold
from chalicelib.errors import ConflictError, NotFoundError, ParameterError
from chalicelib.services.ports.table import DeniedDigests
from chalicelib.services.reconcile import retire_registry as module
from chalicelib.services.reconcile.retire_registry import order_retirement, retire_registry
from tests.extent import Extent
from tests.fakes.images import ACCOUNT, REGION, image
from tests.fakes.queries import NOW, FakeContext
from tests.fakes.watched_ecr import Died
from tests.services.replication.test_replication_killed import Deadly

THERE = "444455556666"
HOME, LIBS = (Repository(THERE, REGION, name) for name in ("team/api", "team/libs"))
SOURCE = Repository(ACCOUNT, REGION, "team/api")
PLACE = Destination(THERE, REGION)
POLICY = "version: 1\nmode: enforce\nnotify: [{channel: sns}, {channel: slack}]\n"
ORDERED = Order(ActionType.QUARANTINE, "ann", "a drill", NOW - timedelta(days=1))
MIRRORED = Order(
    ActionType.QUARANTINE, SYSTEM, "its source", NOW, mirrors=(Mirror(SOURCE.image("sha256:1").path, NOW, "ann"),)
)
ACT = PendingAct(ActionType.QUARANTINE, 1, NOW)
ALERT = PendingAlert(ActionType.ALERT, 1, NOW)
BEGUN = Enforcement(ActionType.QUARANTINE, 1, Stage.BEGUN, NOW)
TWIN = Repository("public/acme", "us-east-1", "web").image(f"sha256:{9:064x}")


def of(home: Repository, number: int, **changes: Any) -> Header:
    return image(number, Decision.BLOCK, home.image(f"sha256:{number:064x}"), **changes)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_IMAGES", 2)


def estate() -> FakeContext:
    """One of everything in the registry, and a copy there of an image of ours."""
    context = FakeContext()
    context.rules.rules = Rules(read_policy(POLICY), (), 3, 1)
    for header in (
        of(HOME, 1, order=ORDERED, pending=(ACT, ALERT), due_at=NOW, decide_at=NOW),
        of(HOME, 2, order=MIRRORED, hold=Hold("archive", 1, NOW)),
        of(HOME, 3, pending=(ACT,), queued=(ACT,), enforcement=BEGUN, refresh_due_at=NOW),
        of(HOME, 4, denied=True),
        of(HOME, 5, kind=Kind.ARTIFACT, tags=("v5.sig",)),
        of(LIBS, 9, twins=(TWIN.path,)),
        image(1, Decision.BLOCK, SOURCE.image(f"sha256:{1:064x}"), order=ORDERED),
    ):
        context.queries.add(header)
    context.queries.denied[HOME] = DeniedDigests((f"sha256:{4:064x}",), listed=True)
    for digest in (None, f"sha256:{1:064x}"):
        context.legal_holds.put(LegalHold(HOME, digest, "bob", "the claim", NOW))
    copy = SOURCE.image(f"sha256:{1:064x}")
    other = Destination(ACCOUNT, "eu-central-1")
    for place in (PLACE, other):
        context.replicas.add(Replica(ref=copy, destination=place, status=ReplicaStatus.COMPLETE, since=NOW, at=NOW))
    sights = DestinationAccess(other, NOW), DestinationAccess(PLACE, NOW, gone_at=NOW)
    context.replicas.store_state(SOURCE, ReplicationState(sights, NOW))
    context.queries.homes[SOURCE] = {"replication": {PLACE.path: {"COMPLETE": 1}, other.path: {"COMPLETE": 1}}}
    return context


def order(context: FakeContext, **how: Any) -> Retirement:
    return order_retirement(THERE, REGION, "ann", "it is closed", context, **how)  # type: ignore[arg-type]


def handle(context: FakeContext, message: RetireRegistry) -> None:
    retire_registry(message, context)  # type: ignore[arg-type]


def messages(context: FakeContext) -> list[RetireRegistry]:
    return [body for _, body in context.outbox.sent if isinstance(body, RetireRegistry)]


def drain(context: FakeContext, handled: Callable[[RetireRegistry], None] | None = None) -> int:
    """Until no message is left; how many there were. A queue's delay goes by with each."""
    done = 0
    while done < len(messages(context)):
        context.clock.at += module.NEXT_ROUND_AFTER
        (handled or (lambda message: handle(context, message)))(messages(context)[done])
        done += 1
    return done


def end_of(context: FakeContext) -> dict[str, Any]:
    """What is stored and was told, but for times and versions of what was put."""
    headers = {ref: msgspec.structs.replace(h, version=0) for ref, h in sorted(context.queries.stored.items())}
    found = context.retirements.get(THERE, REGION)
    assert found is not None
    (retirement,) = (msgspec.structs.replace(found, revision=0, done_at=None, resumes_at=None, at=NOW),)
    records = {
        chain: [(r.effect, r.kind, r.actor, r.reason, r.before, r.after) for r in records]
        for chain, records in context.queries.records.items()
    }
    return {
        "headers": headers,
        "retirement": retirement,
        "holds": sorted((str(h.digest), h.stands, h.ended_because) for h in context.legal_holds.of(HOME)),
        "records": records,
        "homes": sorted(context.queries.homes),
        "copies": sorted(context.replicas.kept),
        "sights": context.replicas.states[SOURCE].sights,
        "told": {(b.key, b.channel) for _, b in context.outbox.sent if isinstance(b, SendAlert)},
        "decided": {b.ref for _, b in context.outbox.sent if isinstance(b, Decide)},
    }


def test_all_of_it_ends_and_is_counted() -> None:
    context = estate()
    order(context)
    drain(context)
    end = end_of(context)
    assert end["retirement"].counts == RetiredCounts(
        repositories=2, images=5, orders=2, legal_holds=2, acts=3, stay_archived=1, deny=1, being_done=1
    )
    gone = [header for ref, header in end["headers"].items() if ref.registry == THERE]
    assert {(h.present, h.order, h.acts, h.notices, h.due_at, h.is_retired) for h in gone} == {
        (False, None, (), (), None, True)
    }
    ours = end["headers"][SOURCE.image(f"sha256:{1:064x}")]
    assert (ours.exists, ours.order) == (True, ORDERED)
    assert end["homes"] == [SOURCE]
    assert [stands for _, stands, _ in end["holds"]] == [False, False]
    assert {place for _, place in end["copies"]} == {Destination(ACCOUNT, "eu-central-1")}
    assert [sight.destination.region for sight in end["sights"]] == ["eu-central-1"]
    assert len(end["told"]) == 2, "one alert, two channels"
    assert end["decided"] == {TWIN}
    kinds = sorted(kind for records in end["records"].values() for _, kind, *_ in records)
    assert kinds == [ActionKind.ORDER_ENDED, ActionKind.ORDER_ENDED, ActionKind.REGISTRY_RETIRED]


def killable(context: FakeContext) -> Deadly:
    deadly = Deadly()
    for port in ("table", "queries", "retirements", "legal_holds", "replicas", "outbox"):
        setattr(context, port, deadly.around(getattr(context, port), port))
    return deadly


def played(context: FakeContext, deadly: Deadly, at: int = -1) -> bool:
    """Once whole, the order and each message handled again where it died. Whether it did."""
    deadly.at, died = at, False

    def tried(do: Callable[[], object]) -> None:
        nonlocal died
        try:
            do()
        except Died:
            deadly.at, died = -1, True
            do()

    tried(lambda: order(context))
    drain(context, lambda message: tried(lambda: handle(context, message)))
    return died


def test_killed_at_any_call_and_done_again_it_ends_the_same(extent: Extent, record_property: Any) -> None:
    whole = estate()
    counter = killable(whole)
    assert not played(whole, counter)
    calls, wanted = list(counter.calls), end_of(whole)
    places = extent.calls(list(enumerate(calls)))
    for number, name in places:
        context = estate()
        assert played(context, killable(context), number), name
        assert end_of(context) == wanted, name
    record_property("counted", f"retirement: killed before {len(places)} of {len(calls)} calls")


def test_twice_is_once() -> None:
    once, twice = estate(), estate()
    for context in (once, twice):
        order(context)
    order(twice)
    drain(once)
    drain(twice)
    assert end_of(twice) == end_of(once)
    sent = len(twice.outbox.sent)
    assert order(twice).done_at is not None
    assert len(twice.outbox.sent) == sent, "nothing is left to do"


def test_one_of_which_something_is_known_again_is_begun_anew() -> None:
    context = estate()
    order(context)
    drain(context)
    context.queries.add(of(HOME, 8))
    again = order(context)
    assert (again.done_at, again.counts) == (None, RetiredCounts())
    drain(context)
    found = context.retirements.get(THERE, REGION)
    assert found is not None
    assert (found.done_at is not None, found.counts.images) == (True, 1)
    kinds = [record.kind for record in context.queries.records[found.subject]]
    assert kinds == [ActionKind.REGISTRY_RETIRED] * 2


def test_what_is_out_of_time_goes_on_where_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    context, slow = estate(), estate()
    order(context)
    drain(context)
    put = slow.table.put_header

    def tired(header: Header) -> Header:
        slow.clock.at += module.BUDGET
        return put(header)  # type: ignore[no-any-return]

    monkeypatch.setattr(slow.table, "put_header", tired)
    order(slow)
    assert drain(slow) > drain(context) + 2
    found, other = slow.retirements.get(THERE, REGION), context.retirements.get(THERE, REGION)
    assert found is not None
    assert other is not None
    assert found.counts == other.counts


def test_of_two_workers_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    context, meanwhile = estate(), False
    order(context)
    (message,) = messages(context)
    put = context.retirements.put

    def overtaken(retirement: Retirement) -> Retirement:
        nonlocal meanwhile
        if not meanwhile:
            meanwhile = True
            handle(context, message)
        return put(retirement)

    monkeypatch.setattr(context.retirements, "put", overtaken)
    handle(context, message)
    drain(context)
    alone = estate()
    order(alone)
    drain(alone)
    found, other = context.retirements.get(THERE, REGION), alone.retirements.get(THERE, REGION)
    assert found is not None
    assert other is not None
    assert found.counts == other.counts


def test_one_that_is_watched_again_meanwhile_is_left_alone() -> None:
    context = estate()
    order(context)
    context.registries = (*context.registries, RegistryPlace(REGION, THERE))
    drain(context)
    assert all(header.exists for header in context.queries.stored.values())


def test_what_is_written_between_the_rounds_is_found() -> None:
    context, late = estate(), of(HOME, 7)

    def handled(message: RetireRegistry) -> None:
        handle(context, message)
        found = context.retirements.get(THERE, REGION)
        if found is not None and found.round == 2 and late.ref not in context.queries.stored:
            context.queries.add(late)

    order(context)
    drain(context, handled)
    assert context.queries.stored[late.ref].is_retired
    found = context.retirements.get(THERE, REGION)
    assert found is not None
    assert found.counts.images == 6


def test_a_registry_that_something_is_copied_to_is_refused_with_the_rule_to_change() -> None:
    context = estate()
    context.replicas.store_state(SOURCE, ReplicationState((DestinationAccess(PLACE, NOW),), NOW))
    with pytest.raises(ConflictError, match=f"replication rules of {ACCOUNT}/{REGION}"):
        order(context)
    context = estate()
    expected = f"replication: {{destinations: [{{region: {REGION}, registry: '{THERE}', keep: 3}}]}}\n"
    context.rules.rules = Rules(read_policy(POLICY + expected), (), 3, 1)
    with pytest.raises(ConflictError, match=r"replication\.destinations"):
        order(context)


def test_what_cannot_be_retired_is_refused() -> None:
    context = estate()
    with pytest.raises(ParameterError, match="reason"):
        order_retirement(THERE, REGION, "ann", " ", context)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError, match=f"known are {ACCOUNT}/{REGION}, {THERE}/{REGION}"):
        order_retirement(THERE, "eu-north-1", "ann", "gone", context)  # type: ignore[arg-type]
    with pytest.raises(ConflictError, match="always watched"):
        order_retirement(ACCOUNT, REGION, "ann", "gone", context)  # type: ignore[arg-type]


def waiver(number: int, repository: str, days: int = 9) -> Waiver:
    return Waiver(
        id=f"w{number}",
        repository=repository,
        reason="known",
        approved_by="ann",
        expires_at=NOW + timedelta(days=days),
        created_at=NOW - timedelta(days=9),
        vulnerability_id="CVE-2026-0001",
    )


def test_waivers_that_cover_nothing_else_are_named() -> None:
    context = estate()
    for one in (waiver(1, "team/libs"), waiver(2, "team/*"), waiver(3, "team/l*", -1), waiver(4, "other/*")):
        context.waivers.stored[one.id] = one
    assert order(context, dry_run=True).waivers == ("w1",)
    assert "1 waiver covers repositories of this registry alone: w1." in order(context).lines
    assert context.waivers.stored["w1"].in_force(NOW), "it ends by itself, and may cover what is pushed elsewhere"


@given(
    st.builds(
        lambda exists, order, hold, denied, acts: of(
            HOME,
            1,
            exists=exists,
            order=order,
            hold=hold,
            denied=denied,
            pending=acts,
            existence_at=NOW - timedelta(days=2),
        ),
        st.booleans(),
        st.sampled_from((None, ORDERED, MIRRORED)),
        st.sampled_from((None, Hold("archive", 1, NOW))),
        st.booleans(),
        st.sampled_from(((), (ACT,), (ACT, ALERT))),
    )
)
def test_what_is_retired_is_gone_counted_once_and_never_opens(header: Header) -> None:
    gone = retired(header, NOW)
    assert not gone.present
    assert gone.is_retired
    assert (gone.order, gone.acts, gone.notices, gone.hold) == (None, (), (), None)
    assert gone.verdict == header.verdict
    assert retired(gone, NOW + timedelta(days=1)) == gone
    assert count_retired([gone], NOW + timedelta(days=1)) == RetiredCounts()
    assert count_retired([header], NOW).images == int(header.exists or header.denied)
