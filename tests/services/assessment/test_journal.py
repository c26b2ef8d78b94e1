"""What the use cases say of their work: what became of each message, and what is counted."""

from __future__ import annotations

from chalicelib.domain.events.message import Delivery, Metric, Outcome
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import TransientError
from chalicelib.services.handlers.receive_acts import receive_acts
from chalicelib.services.handlers.receive_batch import receive_batch
from tests.fakes.journal import FakeJournal
from tests.services.context import Story


def story(**options: bool) -> Story:
    made = Story(**options)
    made.journal = FakeJournal()
    return made


def test_a_first_scan_counts_its_look_its_document_and_its_verdict() -> None:
    told = story(known=False)
    told.one.scanned()
    told.one.flaw(1)
    told.receive(told.one.action("PUSH", tag="v1"))
    told.receive(told.one.scanned())
    counted, decision = told.journal.counted, told.head.decision
    assert counted[Metric.LOOKS, None] == 1
    assert counted[Metric.DOCUMENTS_WRITTEN, None] == 1
    assert counted[Metric.FINDINGS_WRITTEN, None] == len(told.doc.findings) == 1
    assert counted[Metric.VERDICTS, decision] == 1
    assert counted[Metric.VERDICTS, Decision.PENDING] == 1
    assert told.head.verdict is not None
    assert told.journal.verdicts[told.ref] == told.head.verdict.number == 2


def test_what_a_listing_has_seen_is_covered_and_what_was_redriven_never_is() -> None:
    told = story()
    event = told.one.scanned()
    told.drain()
    told.after(600).receive(told.one.covered())
    told.drain()
    told.journal = FakeJournal()
    covered = told.delivery(event)
    assert receive_batch([covered], told) == {}  # type: ignore[arg-type]
    assert told.journal.ended == {covered.message_id: (Outcome.COVERED, None)}
    assert told.journal.counted == {(Metric.MESSAGES_COVERED, None): 1}
    redriven = Delivery("redriven", event, redriven=True, raw=told.raw(event))
    assert receive_batch([redriven], told) == {}  # type: ignore[arg-type]
    assert told.journal.ended[redriven.message_id] == (Outcome.HANDLED, None)
    assert told.journal.counted[Metric.MESSAGES_COVERED, None] == 1


def test_what_only_needs_time_is_put_back_and_what_fails_has_failed() -> None:
    told = story()
    error = TransientError("slow down")

    def throttle(*_: object) -> None:
        raise error

    told.table.read_headers = throttle
    event = told.delivery(told.one.scanned())
    assert receive_batch([event], told) == {}  # type: ignore[arg-type]
    assert told.journal.ended[event.message_id] == (Outcome.PUT_BACK, error)
    foreign = told.delivery(told.one.scanned())
    failures = receive_acts([foreign], told)  # type: ignore[arg-type]
    outcome, why = told.journal.ended[foreign.message_id]
    assert (outcome, why) == (Outcome.FAILED, failures[foreign.message_id])
    assert isinstance(why, TypeError)


def test_what_is_done_is_counted_by_its_kind_once() -> None:
    told = story()
    told.receive(told.one.flaw(3, severity=Severity.CRITICAL))
    told.drain()
    done = {by: n for (metric, by), n in told.journal.counted.items() if metric is Metric.ACTIONS}
    assert done["QUARANTINE"] == 1
    assert done["ALERT"] >= 1
    assert "QUARANTINE_FAILED" not in done
