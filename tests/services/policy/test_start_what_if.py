"""Asking what a policy would change, and what was found so far."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.domain.events.message import WhatIf
from chalicelib.errors import NotFoundError, ParameterError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy.start_what_if import read_what_if, start_what_if
from tests.services.judged import FIRST, NOW, STRICT, Judged, JudgedContext


def test_the_question_is_kept_with_both_policies_and_sent_to_every_shard() -> None:
    context = JudgedContext()
    context.rules.put_policy(FIRST, "oncall")
    job = start_what_if(read_policy(STRICT), 30, "arn:aws:iam::111122223333:user/oncall", context)
    assert context.what_ifs.read_job(job.id) == job
    assert (job.at, job.since_days, job.today_version) == (NOW, 30, 1)
    assert (job.today, job.candidate) == (read_policy(FIRST).document, read_policy(STRICT).document)
    assert context.outbox.of(WhatIf) == [WhatIf(job.id, shard) for shard in range(SHARDS)]


def test_two_questions_are_two_jobs() -> None:
    context = JudgedContext()
    assert len({start_what_if(read_policy(STRICT), 0, "oncall", context).id for _ in range(3)}) == 3


def test_no_more_days_are_asked_for_than_the_policy_in_force_keeps() -> None:
    context = JudgedContext()
    context.rules.put_policy("version: 1\nhistory_days: 20\n", "oncall")
    assert start_what_if(read_policy(STRICT), 20, "oncall", context)
    with pytest.raises(ParameterError, match=r"since_days: must be at most 20.*history_days"):
        start_what_if(read_policy(STRICT), 21, "oncall", context)


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
