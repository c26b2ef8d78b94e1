"""What is heard of a retired registry is left alone, whatever message it is; of another one nothing is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.alerts.alert import Alert, AlertKey
from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.events.event import ApiCall, ImageAction
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.message import (
    Act,
    CheckDeny,
    Decide,
    Delivery,
    Metric,
    Outcome,
    PullFailed,
    Refresh,
    SendAlert,
)
from chalicelib.domain.events.sweep_message import (
    PlanSweep,
    ReplicationCheck,
    RetireRegistry,
    Sweep,
    SweepRepository,
    SyntheticEvent,
    TakeImages,
)
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import ImageName, RegistryPlace
from chalicelib.domain.reconcile.retirement import Retirement
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.reconcile.drop_retired import drop_retired, handle_watched
from tests.fakes.images import ACCOUNT, REGION, digest
from tests.fakes.queries import NOW, FakeContext

THERE = "444455556666"
PLACE = RegistryPlace(REGION, THERE)


def about(account: str) -> list[Any]:
    home = Repository(account, REGION, "team/api")
    ref = home.image(digest(1))
    return [
        ImageAction(ref, "PUSH", "SUCCESS", NOW, "e"),
        ApiCall("SetRepositoryPolicy", account, REGION, None, NOW, "e"),
        Refresh(ref, NOW),
        Decide(ref, "clock"),
        SyntheticEvent(ref, "PUSH", NOW),
        Act(ref, "QUARANTINE#1"),
        Act(ref, "ALERT#1"),
        CheckDeny(ref),
        PullFailed(FailedPull(ImageName(home, "v1"), "not found", NOW)),
        TakeImages(home, NOW),
        SweepRepository(Sweep.RETENTION, home, NOW),
        ReplicationCheck(ref, NOW, NOW),
        PlanSweep(Sweep.RECONCILE, REGION, NOW, account=account),
    ]


def handed(context: FakeContext, bodies: list[Any], *, fresh: bool = False) -> list[Any]:
    deliveries = [Delivery(str(n), body) for n, body in enumerate(bodies)]
    return [d.body for d in drop_retired(deliveries, context, fresh=fresh)]  # type: ignore[arg-type]


@pytest.fixture
def context() -> FakeContext:
    made = FakeContext()
    made.retirements.put(Retirement(PLACE, THERE, "ann", "closed", NOW))
    return made


@pytest.mark.parametrize("fresh", [False, True])
def test_every_message_about_it_is_left_alone_and_seen(context: FakeContext, fresh: bool) -> None:
    bodies = about(THERE)
    assert handed(context, bodies, fresh=fresh) == []
    assert context.journal.counted[Metric.MESSAGES_IGNORED, None] == len(bodies)
    assert set(context.journal.ended.values()) == {(Outcome.IGNORED, f"its registry {THERE}/{REGION} is retired")}


def test_nothing_else_is(context: FakeContext) -> None:
    ref = Repository(THERE, REGION, "team/api").image(digest(1))
    composed = SendAlert(Alert(event="verdict", title="Bad", at=NOW, ref=ref), AlertKey("ALERT#1", NOW, ref=ref), "sns")
    bodies = [*about(ACCOUNT), RetireRegistry(THERE, REGION), composed]
    assert handed(context, bodies) == bodies


@pytest.mark.parametrize("error", [DeniedError("dynamodb:Query"), ValueError("a defect")])
def test_where_it_cannot_be_looked_up_all_fail_and_nothing_is_raised(context: FakeContext, error: Exception) -> None:
    """What a function raises is printed as it is."""

    def fails() -> Any:
        raise error

    context.retirements.all = context.retirements.recent = fails  # type: ignore[method-assign]
    deliveries = [Delivery(str(n), body) for n, body in enumerate(about(ACCOUNT))]
    failed = handle_watched(deliveries, lambda left: pytest.fail("handled"), context)  # type: ignore[arg-type]
    assert failed == {delivery.message_id: error for delivery in deliveries}
    assert {outcome for outcome, _ in context.journal.ended.values()} == {Outcome.FAILED}


@pytest.mark.parametrize("fresh", [False, True])
def test_while_the_table_does_not_answer_messages_go_by_what_was_known_last_or_nothing(
    context: FakeContext, fresh: bool
) -> None:
    """They are requeued by what they read themselves; failed here, they would soon be dead letters."""

    def throttled() -> Any:
        raise TransientError("throttled")

    act, other = Act(about(THERE)[2].ref, "QUARANTINE#1"), Act(about(ACCOUNT)[2].ref, "QUARANTINE#1")
    context.retirements.all = throttled  # type: ignore[method-assign]
    assert handed(context, [act, other], fresh=fresh) == [other]
    context.retirements.recent = throttled  # type: ignore[method-assign]
    assert handed(context, [act, other], fresh=fresh) == [act, other]


def test_one_that_settings_name_again_is_watched_and_its_sweep_ends_the_retirement(context: FakeContext) -> None:
    context.registries = (*context.registries, PLACE)
    *others, plan = about(THERE)
    assert handed(context, others) == others
    assert context.retirements.all() != (), "its sweep alone ends it"
    assert handed(context, [plan]) == [plan]
    assert context.retirements.all() == ()
    (record,) = context.queries.records[f"registry/{THERE}/{REGION}"]
    assert (record.kind, record.wanted_at) == (ActionKind.REGISTRY_WATCHED, NOW)
    context.clock.at += timedelta(minutes=1)
    assert handed(context, [plan]) == [plan]
    assert len(context.queries.records[f"registry/{THERE}/{REGION}"]) == 1


def test_another_region_of_our_own_account_is_meant_by_its_region_alone() -> None:
    context, region = FakeContext(), "eu-north-1"
    plan = PlanSweep(Sweep.RECONCILE, region, NOW)
    context.retirements.put(Retirement(RegistryPlace(region), ACCOUNT, "ann", "closed", NOW))
    there = Decide(Repository(ACCOUNT, region, "team/api").image(digest(1)), "clock")
    here = Decide(Repository(ACCOUNT, REGION, "team/api").image(digest(1)), "clock")
    theirs = PlanSweep(Sweep.RECONCILE, region, NOW, account=THERE)
    assert handed(context, [there, here, plan, theirs]) == [here, theirs]
    context.registries = (*context.registries, RegistryPlace(region))
    assert handed(context, [there, plan]) == [there, plan]
    assert context.retirements.all() == ()
