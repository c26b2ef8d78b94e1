"""What `GET /v1/retention/plan` answers. How it is made is `retention.py`'s business. No logic."""

from __future__ import annotations

from typing import Literal

import msgspec

from chalicelib.api.answers.image_answers import Moment
from chalicelib.domain.images.image import InUseState, StorageStatus


class FreedAnswer(msgspec.Struct, frozen=True):
    """What the plan frees, by the list prices of us-east-1. `at_most`: some layers are not known, and may be shared
    with what stays. `committed_dollars`: what the archive's 90 days cost; `retrieval_dollars`: to take it all back.
    `prices`: which those are, and which of them nobody has verified, for people."""

    size_bytes: int
    at_most: bool
    dollars_a_month: float
    committed_dollars: float
    retrieval_dollars: float
    prices: str


class FateAnswer(msgspec.Struct, frozen=True):
    """`by`: the part of the policy that keeps or takes the image, or what keeps it whatever the policy says (`running`,
    `index`, `subject`, `replica`, `quarantined`, `waived`, `archived`, `untagged`, `no rule`, …). `running`: as looked
    up for this plan; null: not asked, because it stays anyway, or because too many were to be asked."""

    digest: str
    tags: tuple[str, ...]
    fate: Literal["keep", "expire", "archive"]
    by: str
    why: str
    pushed_at: Moment | None
    pulled_at: Moment | None
    size_bytes: int | None
    storage: StorageStatus
    running: InUseState | None


class PlanAnswer(msgspec.Struct, frozen=True):
    """`id` names exactly these images, tags, uses and rules: `lazaretto retention apply` takes it. `stopped`: why
    nothing would be taken although images are wanted. `unlooked`: how many more the rule would take, once somebody has
    looked whether they run: a plan asks about a hundred, and an apply goes on with the others. `fates`: the newest push
    first; those left out are counted."""

    id: str
    registry: str
    region: str
    repository: str
    rule: int | None
    action: Literal["expire", "archive"] | None
    policy_version: int
    listed_at: Moment
    stopped: str | None
    acts: bool
    images: int
    wanted: int
    unlooked: int
    freed: FreedAnswer
    fates: tuple[FateAnswer, ...]
    fates_left_out: int = 0
