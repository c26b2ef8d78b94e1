"""Start a what-if: what would a candidate policy change? The question is stored and answered shard by shard; here it is
asked, and what was found so far is read.

How far back the past of images is known depends on the policies that were in force: each dropped findings that had
ended too long before.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from chalicelib.domain.events.message import WhatIf
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.whatif.report import Job, WhatIfReport, report_of
from chalicelib.domain.whatif.what_if import moments_of
from chalicelib.errors import NotFoundError, ParameterError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy.apply_policy import document_of
from chalicelib.services.ports.context import Context

POLICIES_READ = 50


def find_known_past(since: datetime, version: int, context: Context) -> datetime | None:
    """None: all of it since `since`. `version`: of the policy in force, whose own `history_days` go back further.

    A policy that was in force until some moment may have dropped whatever had ended its `history_days` before then; one
    that does not load any more, everything. Where policies changed very often: since the oldest looked at.
    """
    reach = since
    for number in range(version, 0, -1):
        put_at = context.rules.read_policy(number).put_at
        if put_at <= since:
            break
        if version - number == POLICIES_READ:
            reach = max(reach, put_at)
            break
        reach = max(reach, put_at - timedelta(days=_history_days(number - 1, context)))
    return None if reach == since else reach


def _history_days(number: int, context: Context) -> int:
    """Of the policy of the bundle, which has no number, as when nothing is said."""
    if not number:
        return Policy(version=1).history_days
    document = document_of(context.rules.read_policy(number), context)
    return 0 if document is None else int(document["history_days"])


DEFAULT_DAYS = 30


def start_what_if(candidate: Policy, since_days: int, by: str, context: Context) -> Job:
    """The job; `read_what_if` tells how far it is. Nothing but the job itself is written, now and later.

    `since_days`: how many past days are judged (0: only now). Raises ParameterError for more than the policy keeps.
    """
    rules = context.rules.fresh()
    kept = rules.policy.history_days
    if since_days > kept:
        raise ParameterError("since_days", f"must be at most {kept}: the policy keeps that many days (history_days)")
    now = context.clock.now()
    job = Job(
        id=secrets.token_hex(8),
        by=by,
        at=now,
        since_days=since_days,
        today_version=rules.policy_version,
        today=rules.policy.document,
        candidate=candidate.document,
        known_since=find_known_past(moments_of(now, since_days)[0], rules.policy_version, context),
    )
    context.what_ifs.put_job(job)
    for shard in range(SHARDS):
        context.outbox.send("sweeps", WhatIf(job.id, shard))
    return job


def read_what_if(job_id: str, context: Context) -> WhatIfReport:
    """Raises NotFoundError for a job that was never started, or a week ago."""
    job = context.what_ifs.read_job(job_id)
    if job is None:
        raise NotFoundError(f"there is no what-if {job_id}; they are kept for a week")
    return report_of(job, context.what_ifs.read_parts(job), SHARDS)
