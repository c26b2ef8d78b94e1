"""Keep an act open that cannot be done now, with what holds it; people are told when that is news."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from chalicelib.domain.assessment.conclusion import with_due
from chalicelib.domain.enforcement.act_report import RESTORE, with_report
from chalicelib.domain.enforcement.act_words import held_words, would_words
from chalicelib.domain.headers.effect import Effect, Held, Holding
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.services.assessment.decide_image import level_of
from chalicelib.services.assessment.put_decided import put_decided
from chalicelib.services.enforcement.finish_act import with_act
from chalicelib.services.enforcement.read_state import RegistryState
from chalicelib.services.enforcement.record_act import record_failure, record_would
from chalicelib.services.ports.ports import House

SLOW_RESTORE = timedelta(minutes=30)


def hold_act(
    before: Header,
    after: Header,
    effect: Effect,
    held: Held,
    state: RegistryState | None,
    rules: Rules,
    house: House,
) -> None:
    """`state` None: the registry could not be read. Raises ConflictError.

    One of many that waits for a workload to stop is done when nobody expects it: that it waits is left to their
    summary, that it is done is not.
    """
    level = level_of(after, rules, house)
    known = msgspec.structs.replace(effect, by=level.by, why=level.why)
    if held.why is Holding.OBSERVE:
        words = would_words(effect, level.why, after.in_use)
        record_would(after, msgspec.structs.replace(known, why=words), state.words if state else "", house)
        put_decided(before, after, house)
        return
    former, now = effect.held, house.clock.now()
    news = former is None or former.why is not held.why
    if former is not None and not news:
        held = msgspec.structs.replace(held, since=former.since)
    if held.why is Holding.FAILED and news and state is None:
        record_failure(after, known, held.detail, house)
    slow = held.why is Holding.RESTORING and now - held.since > SLOW_RESTORE and RESTORE not in effect.told
    kept = msgspec.structs.replace(effect, held=held, told=(*effect.told, RESTORE) if slow else effect.told)
    loud = msgspec.structs.replace(kept, quiet=kept.quiet and held.why is not Holding.RUNNING)
    after = with_act(after, loud)
    if slow:
        minutes = int((now - held.since).total_seconds() // 60)
        said = f"ECR has been restoring it for {minutes} minutes and has not finished"
        after = with_report(after, kept, said, rules.policy.notify, now, event=RESTORE, always=True)
    elif news and (held.why is Holding.RUNNING or state is None):
        failed = held.why is Holding.FAILED
        after = with_report(after, kept, held_words(kept, held), rules.policy.notify, now, always=failed)
    put_decided(before, with_due(after, now), house)
