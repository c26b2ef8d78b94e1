"""Carry a new policy to every image, and tell people once: a summary, not one alert per image."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping

import msgspec

from chalicelib.domain.alert import compose_summary
from chalicelib.domain.image import ImageRef
from chalicelib.domain.message import Decide
from chalicelib.domain.policy import Policy
from chalicelib.domain.verdict import Decision
from chalicelib.services.ports import Channel, FanOut, House, IndexRow
from chalicelib.services.record_policy import record_policy
from chalicelib.services.send_alert import send_alert

MOST_AT_ONCE = 5000
BUNDLE_ROUNDS = 2
WORST_NAMED = 10


def catch_up_policy(house: House, channels: Mapping[str, Channel], api_url: str | None = None) -> int:
    """Asks every image that another policy decided to be decided again, quietly; returns how many those were.

    Run by the clock until none lags; what was sent and not handled yet is simply sent again. The run that finds none
    lagging records who put the policy, where that was not done, and sends the summary, and only then remembers it: cut
    off in between, it is sent again. A policy that came with a new bundle has no number its images could lag behind:
    all of them are asked, and once more a run later, when no function of the former bundle is left that could have
    decided by the former policy.
    """
    rules = house.rules.fresh()
    version, content = rules.policy_version, _content(rules.policy)
    fan_out = house.table.read_fan_out()
    if fan_out is None and not version:
        house.table.put_fan_out(FanOut(version, {}, told=True, content=content))
        return 0
    known = fan_out is not None and (fan_out.policy_version, fan_out.content) == (version, content)
    if known and fan_out is not None and fan_out.told:
        return 0
    rows = list(house.queries.all_rows())
    if not known or fan_out is None:
        fan_out = FanOut(version, _by_decision(rows), content=content)
        house.table.put_fan_out(fan_out)
    if not version and fan_out.rounds < BUNDLE_ROUNDS:
        return _ask_all(rows, fan_out, house)
    lagging = [row.ref for row in rows if row.policy_version < version]
    _ask(lagging[:MOST_AT_ONCE], house)
    if not lagging:
        if version:
            record_policy(house.rules.read_policy(version), house)
        _tell(fan_out, rows, house, channels, api_url)
        house.table.put_fan_out(msgspec.structs.replace(fan_out, told=True))
    return len(lagging)


def _ask_all(rows: list[IndexRow], fan_out: FanOut, house: House) -> int:
    """Those that come next, by path: their verdicts change while we ask. Returns how many were asked or are left."""
    left = [row.ref for row in rows if fan_out.after is None or row.ref.path > fan_out.after]
    some = heapq.nsmallest(MOST_AT_ONCE, left, key=lambda ref: ref.path)
    _ask(some, house)
    if len(left) > len(some):
        house.table.put_fan_out(msgspec.structs.replace(fan_out, after=some[-1].path))
    else:
        house.table.put_fan_out(msgspec.structs.replace(fan_out, after=None, rounds=fan_out.rounds + 1))
    return len(left)


def _ask(lagging: list[ImageRef], house: House) -> None:
    for ref in lagging:
        house.outbox.send("scans", Decide(ref, "policy", quiet=True))


def _content(policy: Policy) -> str:
    return hashlib.sha256(msgspec.json.encode(policy.document, order="deterministic")).hexdigest()


def _tell(
    fan_out: FanOut, rows: list[IndexRow], house: House, channels: Mapping[str, Channel], api_url: str | None
) -> None:
    worst = sorted(rows, key=_badness)[:WORST_NAMED]
    summary = compose_summary(
        f"policy {fan_out.policy_version}" if fan_out.policy_version else "the policy of a new bundle",
        fan_out.before,
        _by_decision(rows),
        [(r.ref, r.decision, r.counts) for r in worst if r.decision is not Decision.ALLOW],
        house.clock.now(),
        api_url,
    )
    send_alert(summary, house.rules.current().policy.notify, channels)


def _badness(row: IndexRow) -> tuple[object, ...]:
    return (-row.decision.rank, tuple(-n for n in row.counts or ()), row.ref)


def _by_decision(rows: list[IndexRow]) -> dict[Decision, int]:
    return dict(Counter(row.decision for row in rows))
