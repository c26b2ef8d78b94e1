"""Asking what a policy would change."""

from __future__ import annotations

import pytest

from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.domain.events.message import WhatIf
from chalicelib.errors import ParameterError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy.start_what_if import start_what_if
from tests.services.judged import FIRST, NOW, STRICT, JudgedContext


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
