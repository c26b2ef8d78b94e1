"""`POST /v1/policy/what-if` and the `GET` that tells what it found. What is judged and how, the use cases know."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec

from chalicelib.api.answers.answering import MOST_BYTES, answer_running, copied, name_of
from chalicelib.api.answers.image_answers import ImageNameAnswer, Moment, RunningAnswer
from chalicelib.api.framework.call import MAX_POLICY_BODY_BYTES, Call, context
from chalicelib.api.framework.endpoint import Answered, RouteGroup
from chalicelib.api.framework.parameters import JOB_ID
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.pending_action import ActionType, Holding
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.whatif.past import NOTES, PastNote
from chalicelib.domain.whatif.report import Impact, WhatIfReport
from chalicelib.errors import ParameterError, PolicyError
from chalicelib.services.policy.start_what_if import DEFAULT_DAYS, read_what_if, start_what_if
from chalicelib.services.ports.context import Context

MAX_DAYS = 36_500


class WhatIfBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`policy`: the candidate, the text of a policy file. `since_days`: how many past days are judged; 0: only now."""

    policy: str
    since_days: Annotated[int, msgspec.Meta(ge=0, le=MAX_DAYS)] = DEFAULT_DAYS


class StartedAnswer(msgspec.Struct, frozen=True):
    """Ask `GET /v1/policy/what-if?id=…` how far it is."""

    id: str


class RulingAnswer(msgspec.Struct, frozen=True):
    """What one policy says, by its strongest reason: `rule`, `count` findings, the three worst `vulnerability_ids`."""

    decision: Decision
    rule: str | None
    detail: str
    count: int
    vulnerability_ids: tuple[str, ...]


class RunAnswer(msgspec.Struct, frozen=True):
    """Past days, one after the other, on which both policies said the same. `notes` name what is not of their time."""

    first: date
    last: date
    today: RulingAnswer
    candidate: RulingAnswer
    notes: tuple[PastNote, ...]


class DueActAnswer(msgspec.Struct, frozen=True):
    """`waits`: what keeps it from being done at once; OBSERVE: the policy only observes, and nothing is done."""

    kind: ActionType
    waits: Holding | None


class RowAnswer(msgspec.Struct, frozen=True):
    """One image that the candidate closes (BLOCK, QUARANTINE) or changes, now or on a past day.

    `impact`: CLOSES and OPENS change whether it is closed now, ACTS only what is done to it, CHANGES something
    else; PAST: nothing now, but a past day; STAYS: closed by both alike. `first_closed`: the first past day the
    candidate would have closed it; `closed_since`: the first of those without a break until now. `days_closed`,
    `days_closed_today`: on how many past days the candidate, and today's policy, would have closed it. `runs`:
    newest first, without days on which both let it pass and agree; `runs_left_out` are older. `running` is as of
    now. `acts`: what is due under the candidate, in the order in which it is done; `acts_today`: under the policy
    in force.
    """

    image: ImageNameAnswer
    kind: Kind
    impact: Impact
    today: RulingAnswer
    candidate: RulingAnswer
    running: RunningAnswer
    first_closed: date | None
    closed_since: date | None
    days_closed: int
    days_closed_today: int
    runs: tuple[RunAnswer, ...]
    runs_left_out: int
    acts: tuple[DueActAnswer, ...]
    acts_today: tuple[DueActAnswer, ...]


class ActTotalsAnswer(msgspec.Struct, frozen=True):
    """Images `quarantined`, `denied` (a Deny closes their whole repositories) and `released` when all that is due is
    done; of those, how many are `held` because something runs them, may run them, or pulled them. `observed`: of so
    many the policy only records what it would do."""

    quarantined: int = 0
    denied: int = 0
    released: int = 0
    held: int = 0
    observed: int = 0


class TotalsAnswer(msgspec.Struct, frozen=True):
    """Exact counts of images, as far as they were judged. `moves`: `WARN>BLOCK` where the decision differs now.

    `closes`: closed now by the candidate and not by today's policy; of those `closes_running` run and of
    `closes_maybe_running` it is unknown. `kev_open`: the answer depends on KEV that was not asked for yet; applying the
    candidate asks. `unreadable`: could not be judged, and are in no other count. `acts`: what is due under the
    candidate, `acts_today` under the policy in force. `repositories_denied`: by the candidate. `releases_counted`:
    the images that count at the brake. `hours_at_fuse`, `hours_at_brake`: at least so long after the first, the last of
    what is taken away, or given back, is done.
    """

    images: int
    today: dict[Decision, int]
    candidate: dict[Decision, int]
    moves: dict[str, int]
    closes: int
    closes_running: int
    closes_maybe_running: int
    opens: int
    past_closed: int
    past_closed_today: int
    kev_open: int
    unreadable: int
    acts: ActTotalsAnswer
    acts_today: ActTotalsAnswer
    repositories_denied: int
    releases_counted: int
    hours_at_fuse: int
    hours_at_brake: int


class WhatIfAnswer(msgspec.Struct, frozen=True):
    """`images_known`: in the shards that were begun; null: none was. `rows` are the worst, `rows_left_out` how many
    more there are. `note_texts` explains the notes of past days. `today_version` is the policy it is compared with."""

    id: str
    state: Literal["running", "done"]
    by: str
    at: Moment
    since_days: int
    today_version: int
    shards_done: int
    shards: int
    images_known: int | None
    totals: TotalsAnswer
    rows: tuple[RowAnswer, ...]
    rows_left_out: int
    unreadable: tuple[str, ...]
    note_texts: dict[PastNote, str]


area = RouteGroup(__name__)
ACCEPTED = 202


@area.post("/v1/policy/what-if", WhatIfBody, StartedAnswer, status=ACCEPTED, most_bytes=MAX_POLICY_BODY_BYTES)
def ask_what_if(call: Call[WhatIfBody]) -> Answered[StartedAnswer]:
    """Ask what a candidate policy would change: on every image now, and day by day in the past.

    Nothing is changed. `Location` says where the answer grows. A policy that would not load is refused with its line
    and key. No more past days can be asked for than the `history_days` of the policy in force.
    """
    place = context()
    job = start_what_if(_candidate(call.body.policy, place), call.body.since_days, call.actor, place)
    return Answered(StartedAnswer(job.id), ACCEPTED, f"what-if?id={job.id}")


@area.get("/v1/policy/what-if", WhatIfAnswer, (JOB_ID.needed(),), statuses=(404,))
def show_what_if(query: Query) -> WhatIfAnswer:
    """What a what-if has found so far; it is complete when `state` is done. Kept for a week."""
    return _fitted(answer_what_if(read_what_if(query.need(JOB_ID), context())))


def _candidate(text: str, context: Context) -> Policy:
    try:
        return context.rules.policy_of(text)
    except PolicyError as error:
        line = f"line {error.line}: " if error.line is not None else ""
        raise ParameterError("policy", f"{line}{error.path}: {error.reason}") from error


def answer_what_if(report: WhatIfReport) -> WhatIfAnswer:
    job = report.job
    return copied(
        WhatIfAnswer,
        job,
        state="done" if report.done else "running",
        shards_done=report.shards,
        shards=report.of_shards,
        images_known=report.size,
        totals=copied(
            TotalsAnswer,
            report.tally,
            acts=ActTotalsAnswer(**report.tally.acts),
            acts_today=ActTotalsAnswer(**report.tally.acts_today),
            repositories_denied=len(report.tally.denies),
            releases_counted=sum(report.tally.given_back.values()),
            hours_at_fuse=report.hours_at_fuse,
            hours_at_brake=report.hours_at_brake,
        ),
        rows=tuple(
            copied(RowAnswer, row, image=name_of(row.ref, row.tags), running=answer_running(row.in_use))
            for row in report.rows
        ),
        rows_left_out=report.rows_left_out,
        unreadable=tuple(map(str, report.unreadable)),
        note_texts=NOTES,
    )


def _fitted(answer: WhatIfAnswer) -> WhatIfAnswer:
    """With as many of its rows, the worst, as an answer holds; those left out are counted."""
    while answer.rows and len(msgspec.json.encode(answer)) > MOST_BYTES:
        kept = answer.rows[: len(answer.rows) // 2]
        left_out = answer.rows_left_out + len(answer.rows) - len(kept)
        answer = msgspec.structs.replace(answer, rows=kept, rows_left_out=left_out)
    return answer
