"""A summary of all images at one moment."""

from __future__ import annotations

import random

import msgspec

from chalicelib.domain.assessment.summary import Summary, summarize, summary_lines
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.ports.table import ImageRow
from tests.fakes.queries import NOW


def row(
    number: int, decision: Decision = Decision.ALLOW, counts: tuple[int, ...] | None = (0,) * 6, name: str = "a"
) -> ImageRow:
    worst = next((s for s, n in zip(Severity, counts or (0,) * 6, strict=True) if n), None)
    ref = ImageRef("111122223333", "eu-west-1", name, f"sha256:{number:064x}")
    return ImageRow(ref, decision, worst, counts, ScanState.COMPLETE, None, ("v1",), 1, b"", None)


def test_nothing_is_counted_as_zero_everywhere() -> None:
    empty = summarize([], NOW)
    assert (empty.images, empty.worst, empty.repositories) == (0, (), ())
    assert set(empty.decisions) == set(Decision)
    assert set(empty.findings) == set(Severity)
    assert sum(empty.images_by_worst.values()) == 0


def test_images_are_counted_by_decision_state_and_severity() -> None:
    rows = [row(1, Decision.BLOCK, (1, 2, 0, 0, 0, 3)), row(2), row(3, Decision.WARN, (0, 1, 0, 0, 0, 0), "b")]
    said = summarize(rows, NOW)
    assert said.images == 3
    assert (said.decisions[Decision.BLOCK], said.decisions[Decision.ALLOW]) == (1, 1)
    assert said.scan_states[ScanState.COMPLETE] == 3
    assert (said.findings[Severity.HIGH], said.findings[Severity.UNKNOWN]) == (3, 3)
    assert (said.images_by_worst["CRITICAL"], said.images_by_worst["HIGH"], said.images_by_worst["NONE"]) == (1, 1, 1)


def test_it_is_told_in_three_lines_and_what_is_not_scanned_is_not_clean() -> None:
    pending = msgspec.structs.replace(row(3, Decision.PENDING, None), scan_state=ScanState.PENDING)
    assert summary_lines(summarize([row(1, Decision.BLOCK, (1, 2, 0, 0, 0, 0)), row(2), pending], NOW)) == (
        "Images: 3 (1 ALLOW, 1 PENDING, 1 BLOCK)",
        "Images without a complete scan, or whose scan has lapsed: 1",
        "Open findings: 1 CRITICAL, 2 HIGH",
    )


def test_the_ten_worst_are_shown_whatever_the_order_and_clean_ones_never() -> None:
    rows = [row(n, Decision.ALLOW, (0,) * 6) for n in range(3000)]
    bad = [row(10_000 + n, Decision.BLOCK, (n, 0, 0, 0, 0, 0)) for n in range(1, 21)]
    rows += bad
    random.Random(7).shuffle(rows)
    assert [w.findings[Severity.CRITICAL] for w in summarize(rows, NOW).worst] == list(range(20, 10, -1))
    assert summarize([row(1)], NOW).worst == ()


def test_repositories_come_worst_first_and_end_at_a_hundred() -> None:
    rows = [row(n, name=f"r{n:03}") for n in range(150)] + [row(999, Decision.QUARANTINE, name="zzz")]
    said = summarize(rows, NOW)
    assert said.repositories_total == 151
    assert len(said.repositories) == 100
    assert said.repositories[0].repository == "zzz"


def test_a_summary_survives_being_stored() -> None:
    said = summarize([row(1, Decision.BLOCK, (1, 0, 0, 0, 0, 0))], NOW)
    assert msgspec.json.decode(msgspec.json.encode(said), type=Summary) == said


def test_what_was_never_listed_counts_nothing_and_is_not_called_none() -> None:
    said = summarize([row(1, Decision.PENDING, None), row(2)], NOW)
    assert (said.images_by_worst["NOT_SCANNED"], said.images_by_worst["NONE"]) == (1, 1)
    assert sum(said.images_by_worst.values()) == said.images == 2
    assert sum(said.findings.values()) == 0
    (pending,) = said.worst
    assert pending.findings is None


def test_among_equal_decisions_what_is_not_known_comes_last() -> None:
    rows = [row(1, Decision.BLOCK, None), row(2, Decision.BLOCK, (0, 0, 0, 1, 0, 0))]
    assert [w.findings is None for w in summarize(rows, NOW).worst] == [False, True]
