"""Carry a new policy to every image, and tell people once: a summary, not one alert per image.

The index is gone through shard by shard, each read as a stream: so what is held at once does not grow with the images.
Where a run stands is kept after each shard, on condition that no other run kept it meanwhile; the run that lost leaves
the rest to the other. In a shard the images to be asked are taken by their paths: their verdicts change while we ask.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.alerts.verdict_alert import compose_summary
from chalicelib.domain.events.message import Decide, PolicyRollout
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ConflictError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.channels.announce import announce
from chalicelib.services.policy.apply_policy import record_policy
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import ImageRow, RolloutProgress

MOST_AT_ONCE = 5000
BUNDLE_ROUNDS = 2
WORST_NAMED = 10
BUDGET = timedelta(seconds=20)
"""Of one message: ten of them, one after the other, must end within the function's time-out."""
_Named = tuple[ImageRef, Decision, tuple[int, ...] | None]


def roll_out_policy(context: Context) -> int:
    """Asks images that another policy decided to be decided again, quietly; returns how many it asked.

    Run by the clock until none lags; what was sent and not handled yet is simply sent again. The first round only
    counts what is so before; each later one asks who lags, 5,000 images a run at most. The round that finds none
    lagging records who put the policy, where that was not done, and announces the summary, and only then remembers it:
    cut off in between, it is announced again under the same key. A policy that came with a new
    bundle has no number its images could lag behind: all of them are asked, and once more a round later, when no
    function of the former bundle is left that could have decided by the former policy.
    """
    rules = context.rules.fresh()
    version, document = rules.policy_version, rules.policy.document
    content = hashlib.sha256(msgspec.json.encode(document, order="deterministic")).hexdigest()
    stored = context.table.read_rollout()
    try:
        if stored is None and not version:
            context.table.put_rollout(RolloutProgress(version, {}, announced=True, content=content))
            return 0
        if stored is None or (stored.policy_version, stored.content) != (version, content):
            revision = stored.revision if stored else 0
            stored = RolloutProgress(version, None, content=content, revision=revision, begun_at=context.clock.now())
        return 0 if stored.announced else _Run(stored, context).go_on()
    except ConflictError:
        return 0  # another run has gone on from the same place


class _Run:
    """One run, from where the last one ended. `asked`: the images this one asked."""

    def __init__(self, rollout: RolloutProgress, context: Context) -> None:
        self.rollout, self.context, self.asked = rollout, context, 0
        self.until = context.clock.now() + BUDGET

    def go_on(self) -> int:
        """Round after round until one has asked: those images need time."""
        while self._ends_round():
            if self.rollout.before is None:
                self._next_round(before=self.rollout.found)
            elif self.rollout.asked:
                self._next_round(rounds=self.rollout.rounds + 1)
                if self.asked:
                    break
            else:
                self._end()
                break
        return self.asked

    def _ends_round(self) -> bool:
        """False: it has asked as many as a run may, or has used its time; then a message goes on at once."""
        while self.rollout.shard < SHARDS:
            if self.asked >= MOST_AT_ONCE:
                return False
            if self.context.clock.now() >= self.until:
                self.context.outbox.send("sweeps", PolicyRollout())
                return False
            self._visit_shard()
        return True

    def _visit_shard(self) -> None:
        rollout, tally = self.rollout, _Tally(self.rollout)
        room = MOST_AT_ONCE - self.asked
        rows = tally.seen(self.context.queries.rows_of(rollout.shard))
        left = (row.ref for row in rows if self._is_to_be_asked(row))
        some = heapq.nsmallest(room + 1, left, key=lambda ref: ref.path)
        asked = some[:room]
        self.context.outbox.send_all("scans", (Decide(ref, "policy", quiet=True) for ref in asked))
        self.asked += len(asked)
        if len(some) > room:
            self._keep(asked=rollout.asked + len(asked), after=asked[-1].path)
        else:
            self._keep(
                asked=rollout.asked + len(asked),
                after=None,
                shard=rollout.shard + 1,
                found=dict(tally.found),
                worst=tuple(tally.worst),
            )

    def _is_to_be_asked(self, row: ImageRow) -> bool:
        rollout = self.rollout
        if rollout.before is None or (rollout.after is not None and row.ref.path <= rollout.after):
            return False
        if rollout.policy_version:
            return row.policy_version < rollout.policy_version
        return rollout.rounds < BUNDLE_ROUNDS

    def _next_round(self, **changes: object) -> None:
        self._keep(shard=0, asked=0, found={}, worst=(), **changes)

    def _keep(self, **changes: object) -> None:
        self.rollout = self.context.table.put_rollout(msgspec.structs.replace(self.rollout, **changes))

    def _end(self) -> None:
        version, by = self.rollout.policy_version, None
        if version:
            put = self.context.rules.read_policy(version)
            record_policy(put, self.context)
            by = put.put_by
        name = f"policy {version}" if version else "the policy of a new bundle"
        rollout, now = self.rollout, self.context.clock.now()
        policy, begun_at = self.context.rules.current().policy, rollout.begun_at or now
        grace = timedelta(minutes=policy.quarantine.grace_minutes)
        archived_at = begun_at + grace if grace and policy.enforcing else None
        summary = compose_summary(name, rollout.before or {}, rollout.found, rollout.worst, now, archived_at, by=by)
        key = AlertKey(f"ALERT#ROLLOUT#{version}", begun_at, subject="policy")
        announce(summary, key, self.context)
        self._keep(announced=True)


class _Tally:
    """What is found of the images that were seen in a round, the shards before included."""

    def __init__(self, rollout: RolloutProgress) -> None:
        self.found = Counter(rollout.found)
        self.worst: list[_Named] = list(rollout.worst)

    def seen(self, rows: Iterable[ImageRow]) -> Iterator[ImageRow]:
        for row in rows:
            self.found[row.decision] += 1
            if row.decision is not Decision.ALLOW:
                named = (row.ref, row.decision, row.counts)
                self.worst = heapq.nsmallest(WORST_NAMED, (*self.worst, named), key=_badness)
            yield row


def _badness(named: _Named) -> tuple[object, ...]:
    ref, decision, counts = named
    return -decision.rank, tuple(-n for n in counts or ()), ref
