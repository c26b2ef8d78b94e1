"""A what-if on its way through the shards: each image counted once, whatever comes twice, fails or takes long."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.domain.events.message import WhatIf
from chalicelib.domain.whatif.past import PastNote
from chalicelib.domain.whatif.report import Impact, ShardPart, Tally, WhatIfReport
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy import evaluate_shard as module
from chalicelib.services.policy.evaluate_shard import BUDGET, evaluate_shard
from chalicelib.services.policy.start_what_if import read_what_if, start_what_if
from tests.services.judged import DAY, FIRST, NOW, STRICT, Judged, JudgedContext


@pytest.fixture
def judged() -> Judged:
    return Judged(JudgedContext())


def ask(judged: Judged, text: str = STRICT, since_days: int = 0) -> Any:
    return start_what_if(read_policy(text), since_days, "oncall", judged.context)


def finish(judged: Judged, job: Any) -> WhatIfReport:
    judged.pump(WhatIf)
    return read_what_if(job.id, judged.context)


def test_all_images_that_are_decided_about_are_weighed_and_counted_once(judged: Judged) -> None:
    refs = judged.fill(60)
    before = judged.decisions(refs)
    report = finish(judged, ask(judged))
    assert report.done
    assert report.tally.images == len(before) == sum(report.tally.today.values())
    assert report.tally.today == Counter(before.values())
    assert report.size == len(before)
    assert report.tally.moves
    assert {row.impact for row in report.rows} >= {Impact.CLOSES, Impact.OPENS}


def test_nothing_but_the_job_is_written(judged: Judged) -> None:
    refs = judged.fill(40)
    headers, writes = judged.headers(refs), dict(judged.context.table.writes)
    finish(judged, ask(judged, since_days=20))
    assert judged.headers(refs) == headers
    assert judged.context.table.writes == writes
    assert not judged.told.alerts


def test_days_before_a_history_that_was_raised_lately_are_noted(judged: Judged) -> None:
    judged.fill(40)
    judged.context.rules.put_policy(f"{FIRST}history_days: 5\n", "oncall")
    judged.context.rules.put_policy(FIRST, "oncall")
    runs = [run for row in finish(judged, ask(judged, since_days=9)).rows for run in row.runs]
    noted = {PastNote.BEFORE_HISTORY in run.notes for run in runs}
    assert noted == {True, False}
    assert all((PastNote.BEFORE_HISTORY in r.notes) is (r.last < (NOW - 5 * DAY).date()) for r in runs)


def test_the_same_policy_changes_nothing(judged: Judged) -> None:
    judged.fill(40)
    report = finish(judged, ask(judged, FIRST, since_days=20))
    assert report.tally.moves == {}
    assert {row.impact for row in report.rows} <= {Impact.STAYS}
    assert (report.tally.closes, report.tally.opens) == (0, 0)
    assert report.tally.past_closed == report.tally.past_closed_today > 0


def test_pages_are_kept_one_by_one_and_end_in_the_same(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    judged.fill(60)
    whole = finish(judged, ask(judged, since_days=5))
    monkeypatch.setattr(module, "PAGE_IMAGES", 3)
    job = ask(judged, since_days=5)
    judged.context.what_ifs.puts = 0
    paged = finish(judged, job)
    assert judged.context.what_ifs.puts > 2 * SHARDS
    assert (paged.tally, set(paged.rows)) == (whole.tally, set(whole.rows))


def test_a_page_ends_when_its_time_is_over_and_has_done_one_image_at_least(judged: Judged) -> None:
    judged.fill(60)
    job = ask(judged)
    ticks = iter(range(10_000_000))
    judged.context.clock.now = lambda: NOW + next(ticks) * BUDGET
    judged.context.what_ifs.puts = 0
    report = finish(judged, job)
    assert report.done
    assert judged.context.what_ifs.puts >= report.tally.images


def test_a_message_delivered_twice_counts_nothing_twice(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    judged.fill(60)
    whole = finish(judged, ask(judged))
    monkeypatch.setattr(module, "PAGE_IMAGES", 4)
    job = ask(judged)
    judged.context.outbox.sent.extend(list(judged.context.outbox.sent))
    assert finish(judged, job).tally == whole.tally


def test_of_two_workers_at_one_page_the_slower_one_leaves_it_to_the_other(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged.fill(60)
    monkeypatch.setattr(module, "PAGE_IMAGES", 2)
    job = ask(judged)
    judged.context.outbox.sent.clear()
    what_ifs, raced = judged.context.what_ifs, []

    def put(job: Any, part: ShardPart) -> ShardPart:
        if not raced:
            raced.append(True)
            evaluate_shard(WhatIf(job.id, part.shard), judged.context)
        return type(what_ifs).put_part(what_ifs, job, part)

    monkeypatch.setattr(what_ifs, "put_part", put)
    evaluate_shard(WhatIf(job.id, 0), judged.context)
    assert what_ifs.read_part(job, 0).revision == 1
    assert len(judged.context.outbox.of(WhatIf)) == 1


def test_images_that_change_their_verdict_meanwhile_are_neither_missed_nor_counted_twice(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = judged.fill(60)
    monkeypatch.setattr(module, "PAGE_IMAGES", 2)
    job = ask(judged)
    judged.pump(WhatIf, most=SHARDS)
    judged.context.rules.put_policy(STRICT, "oncall")
    judged.carry_policy()
    report = finish(judged, job)
    assert report.tally.images == len(judged.decisions(refs))
    assert report.job.today == read_policy(FIRST).document
    assert report.tally.moves


class Broken:
    """A table whose documents are read by `read`."""

    def __init__(self, table: Any, read: Any) -> None:
        self._table, self.read_document = table, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


def test_an_image_nobody_can_read_is_counted_and_named_and_the_others_go_on(judged: Judged) -> None:
    refs = judged.fill(40)
    bad = next(r for r, h in judged.headers(refs).items() if h.revision and h.present and not h.parents)
    read = judged.context.table.read_document

    def broken(ref: Any) -> Any:
        if ref == bad:
            raise ValueError("packed in a form of tomorrow")
        return read(ref)

    judged.context.table = Broken(judged.context.table, broken)
    report = finish(judged, ask(judged))
    assert report.done
    assert (report.tally.unreadable, report.unreadable) == (1, (bad,))
    assert report.tally.images == len(judged.decisions(refs)) - 1


def test_a_header_nobody_can_read_does_not_take_its_page_with_it(judged: Judged) -> None:
    refs = judged.fill(40)
    bad = next(r for r, h in judged.headers(refs).items() if h.present and not h.parents and h.kind == "IMAGE")
    shown, read = judged.decisions(refs), judged.context.table.read_headers

    def broken(wanted: Any) -> Any:
        if bad in (wanted := list(wanted)):
            raise ValueError("packed in a form of tomorrow")
        return read(wanted)

    judged.context.table.read_headers = broken
    report = finish(judged, ask(judged))
    assert (report.tally.unreadable, report.tally.images) == (1, len(shown) - 1)


def test_what_only_needs_time_is_put_back_and_what_was_found_is_kept(judged: Judged) -> None:
    refs = judged.fill(60)
    job = ask(judged)
    read, calls = judged.context.table.read_document, Counter[Any]()

    def throttled(ref: Any) -> Any:
        """Some images only answer when they are asked again."""
        calls[ref] += 1
        if calls[ref] == 1 and sum(calls.values()) % 3 == 0:
            raise TransientError("throttled", 7)
        return read(ref)

    judged.context.table = Broken(judged.context.table, throttled)
    assert judged.receive("sweeps", WhatIf(job.id, 0)) == {}
    (message,) = [(m, d) for _, m, d in judged.context.outbox.sent if m.after is not None]
    assert message == (WhatIf(job.id, 0, judged.context.what_ifs.read_part(job, 0).after, attempt=1), 7)
    report = finish(judged, job)
    assert report.done
    assert report.tally.images == len(judged.decisions(refs))


def test_a_page_that_never_gets_on_gives_up_and_fails(judged: Judged) -> None:
    judged.fill(20)
    job = ask(judged)
    judged.context.queries.rows_of = lambda shard: (_ for _ in ()).throw(TransientError("throttled"))
    assert judged.receive("sweeps", WhatIf(job.id, 0, attempt=3)) == {}
    assert judged.context.outbox.of(WhatIf)[-1].attempt == 4
    (error,) = judged.receive("sweeps", WhatIf(job.id, 0, attempt=61)).values()
    assert isinstance(error, TransientError)


def test_what_we_may_not_read_fails_the_message(judged: Judged) -> None:
    judged.fill(20)
    job = ask(judged)
    judged.context.table.read_headers = lambda refs: (_ for _ in ()).throw(DeniedError("no"))
    shard = next(shard_of(row.ref) for row in judged.context.queries.all_rows())
    (error,) = judged.receive("sweeps", WhatIf(job.id, shard)).values()
    assert isinstance(error, DeniedError)


def test_a_shard_without_images_is_done_at_once_and_a_job_that_is_over_is_left(judged: Judged) -> None:
    job = ask(judged)
    assert finish(judged, job).done
    judged.context.at += timedelta(days=8)
    evaluate_shard(WhatIf(job.id, 0), judged.context)
    evaluate_shard(WhatIf("never", 0), judged.context)


def test_only_the_worst_rows_are_kept_and_the_others_counted(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    judged.fill(120)
    whole = finish(judged, ask(judged))
    monkeypatch.setattr(module, "ROWS_OF_PART", 3)
    cut = finish(judged, ask(judged))
    assert cut.tally == whole.tally
    assert len(cut.rows) <= 3 * SHARDS < len(whole.rows)
    assert len(cut.rows) + cut.rows_left_out == len(whole.rows)
    closing, kept = (
        Counter(shard_of(r.ref) for r in rows if r.impact is Impact.CLOSES) for rows in (whole.rows, cut.rows)
    )
    assert kept == {shard: min(3, count) for shard, count in closing.items()}


def test_what_is_known_of_exploits_elsewhere_is_taken_over_as_applying_would(judged: Judged) -> None:
    refs = judged.fill(40)
    kev = "version: 1\nrules: [{id: kev, match: {kev: true}, decision: quarantine}]\n"
    first = finish(judged, ask(judged, kev))
    assert first.tally.kev_open > 0
    assert not [row for row in first.rows if row.candidate.rule == "kev"]
    documents = [judged.context.table.read_document(ref) for ref in refs]
    known = {f.vulnerability_id: f.vulnerability_id.endswith("1") for d in documents for f in d.findings}
    judged.context.table.store_kev(known, NOW)
    second = finish(judged, ask(judged, kev))
    assert second.tally.kev_open == 0
    assert [row for row in second.rows if row.candidate.rule == "kev"]


def test_a_part_begins_with_nothing(judged: Judged) -> None:
    report = read_what_if(ask(judged).id, judged.context)
    assert (report.done, report.shards, report.size, report.tally) == (False, 0, None, Tally())
    assert msgspec.json.encode(report)
