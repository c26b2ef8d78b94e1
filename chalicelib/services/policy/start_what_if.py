"""Ask what a candidate policy would change: the question is kept, and its answer is worked out shard by shard."""

from __future__ import annotations

import secrets

from chalicelib.domain.events.message import WhatIf
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.whatif.report import Job
from chalicelib.domain.whatif.what_if import moments_of
from chalicelib.errors import ParameterError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy.find_known_past import find_known_past
from chalicelib.services.ports.ports import House

DEFAULT_DAYS = 30


def start_what_if(candidate: Policy, since_days: int, by: str, house: House) -> Job:
    """The job; `read_what_if` tells how far it is. Nothing but the job itself is written, now and later.

    `since_days`: how many past days are judged (0: only now). Raises ParameterError for more than the policy keeps.
    """
    rules = house.rules.fresh()
    kept = rules.policy.history_days
    if since_days > kept:
        raise ParameterError("since_days", f"must be at most {kept}: the policy keeps that many days (history_days)")
    now = house.clock.now()
    job = Job(
        id=secrets.token_hex(8),
        by=by,
        at=now,
        since_days=since_days,
        today_version=rules.policy_version,
        today=rules.policy.document,
        candidate=candidate.document,
        known_since=find_known_past(moments_of(now, since_days)[0], rules.policy_version, house),
    )
    house.what_ifs.put_job(job)
    for shard in range(SHARDS):
        house.outbox.send("sweeps", WhatIf(job.id, shard))
    return job
