"""`POST /v1/policy/what-if` and the `GET` that tells what it found. What is judged and how, the use cases know."""

from __future__ import annotations

import msgspec

from chalicelib.api.what_if_answers import RowAnswer, RulingAnswer, RunAnswer, StartedAnswer, TotalsAnswer, WhatIfAnswer, WhatIfBody
from chalicelib.api.answers.answering import name_of
from chalicelib.api.answers.image_answers import RunningAnswer
from chalicelib.api.framework.call import MAX_POLICY_BODY_BYTES, Call
from chalicelib.api.framework.endpoint import Answered, Area
from chalicelib.api.framework.parameters import JOB_ID
from chalicelib.api.framework.query import Query
from chalicelib.api.framework.reads import acting_house
from chalicelib.domain.images.image import InUse
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.whatif.past import NOTES
from chalicelib.domain.whatif.report import Report, Row, Run
from chalicelib.domain.whatif.what_if import Ruling
from chalicelib.errors import ParameterError, PolicyError
from chalicelib.services.policy.read_what_if import read_what_if
from chalicelib.services.policy.start_what_if import start_what_if
from chalicelib.services.ports.ports import House

area = Area(__name__)
ACCEPTED = 202
MOST_BYTES = 4_500_000
"""Lambda hands on 6 MB, in which every quotation mark of the answer counts twice."""


@area.post("/v1/policy/what-if", WhatIfBody, StartedAnswer, status=ACCEPTED, most_bytes=MAX_POLICY_BODY_BYTES)
def ask_what_if(call: Call[WhatIfBody]) -> Answered[StartedAnswer]:
    """Ask what a candidate policy would change: on every image now, and day by day in the past.

    Nothing is changed. `Location` says where the answer grows. A policy that would not load is refused with its line
    and key. No more past days can be asked for than the `history_days` of the policy in force.
    """
    house = acting_house()
    job = start_what_if(_candidate(call.body.policy, house), call.body.since_days, call.actor, house)
    return Answered(StartedAnswer(job.id), ACCEPTED, f"what-if?id={job.id}")


@area.get("/v1/policy/what-if", WhatIfAnswer, (JOB_ID.needed(),), statuses=(404,))
def show_what_if(query: Query) -> WhatIfAnswer:
    """What a what-if has found so far; it is complete when `state` is done. Kept for a week."""
    return _fitted(_answer(read_what_if(query.need(JOB_ID), acting_house())))


def _candidate(text: str, house: House) -> Policy:
    try:
        return house.rules.policy_of(text)
    except PolicyError as error:
        line = f"line {error.line}: " if error.line is not None else ""
        raise ParameterError("policy", f"{line}{error.path}: {error.reason}") from error


def _answer(report: Report) -> WhatIfAnswer:
    job = report.job
    return WhatIfAnswer(
        id=job.id,
        state="done" if report.done else "running",
        by=job.by,
        at=job.at,
        since_days=job.since_days,
        today_version=job.today_version,
        shards_done=report.shards,
        shards=report.of_shards,
        images_known=report.size,
        totals=TotalsAnswer(**msgspec.structs.asdict(report.tally)),
        rows=tuple(map(_row, report.rows)),
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


def _row(row: Row) -> RowAnswer:
    return RowAnswer(
        image=name_of(row.ref, row.tags),
        kind=row.kind,
        impact=row.impact,
        today=_ruling(row.today),
        candidate=_ruling(row.candidate),
        running=_running(row.in_use),
        first_closed=row.first_closed,
        closed_since=row.closed_since,
        days_closed=row.days_closed,
        days_closed_today=row.days_closed_today,
        runs=tuple(map(_run, row.runs)),
        runs_left_out=row.runs_left_out,
    )


def _run(run: Run) -> RunAnswer:
    return RunAnswer(run.first, run.last, _ruling(run.today), _ruling(run.candidate), run.notes)


def _ruling(ruling: Ruling) -> RulingAnswer:
    return RulingAnswer(ruling.decision, ruling.rule, ruling.detail, ruling.count, ruling.vulnerability_ids)


def _running(use: InUse) -> RunningAnswer:
    return RunningAnswer(use.state, use.count, use.last_at, use.seen_at, use.by, use.blind)
