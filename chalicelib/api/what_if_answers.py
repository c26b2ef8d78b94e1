"""What the routes about what-ifs take and answer. How it is made is `what_if.py`'s business."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec

from chalicelib.api.answers.image_answers import ImageName, Moment, RunningAnswer
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.whatif.past import PastNote
from chalicelib.domain.whatif.report import Impact
from chalicelib.services.policy.start_what_if import DEFAULT_DAYS

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


class RowAnswer(msgspec.Struct, frozen=True):
    """One image that the candidate closes (BLOCK, QUARANTINE) or changes, now or on a past day.

    `impact`: CLOSES and OPENS change whether it is closed now, CHANGES something else; PAST: nothing now, but a past
    day; STAYS: closed by both alike. `first_closed`: the first past day the candidate would have closed it;
    `closed_since`: the first of those without a break until now. `days_closed`, `days_closed_today`: on how many past
    days the candidate, and today's policy, would have closed it. `runs`: newest first, without days on which both let
    it pass and agree; `runs_left_out` are older. `running` is as of now.
    """

    image: ImageName
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


class TotalsAnswer(msgspec.Struct, frozen=True):
    """Exact counts of images, as far as they were judged. `moves`: `WARN>BLOCK` where the decision differs now.

    `closes`: closed now by the candidate and not by today's policy; of those `closes_running` run and of
    `closes_maybe_running` nobody can tell. `kev_open`: the answer hangs on KEV that nobody has asked for yet; applying
    the candidate asks. `unreadable`: could not be judged, and are in no other count.
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
