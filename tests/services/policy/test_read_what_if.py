"""What a what-if has found so far."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.domain.events.message import WhatIf
from chalicelib.errors import NotFoundError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy.start_what_if import read_what_if, start_what_if
from tests.services.judged import STRICT, Judged, JudgedContext


def test_progress_rises_shard_by_shard_until_it_is_done() -> None:
    judged = Judged(JudgedContext())
    judged.fill(40)
    job = start_what_if(read_policy(STRICT), 0, "oncall", judged.context)
    seen = []
    for _ in range(SHARDS):
        judged.pump(WhatIf, most=1)
        report = read_what_if(job.id, judged.context)
        seen.append((report.shards, report.tally.images))
    assert [shards for shards, _ in seen] == list(range(1, SHARDS + 1))
    assert [images for _, images in seen] == sorted(images for _, images in seen)
    assert report.done


def test_a_job_that_is_not_known_or_over_is_not_found() -> None:
    context = JudgedContext()
    job = start_what_if(read_policy(STRICT), 0, "oncall", context)
    with pytest.raises(NotFoundError, match="kept for a week"):
        read_what_if("another", context)
    context.at += timedelta(days=7)
    with pytest.raises(NotFoundError):
        read_what_if(job.id, context)
