from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.audit.chain import Chain, ChainProblem, Copy, Head, StoredRecord
from chalicelib.services.audit.verify_audit import Proven, verify_chain
from tests.fakes.audit import FakeAudit

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def record(number: int) -> ActionRecord:
    return ActionRecord(None, f"SET#{number}", NOW, "POLICY", "person:oncall", "x", NOW, subject="policy")


def log(number: int) -> dict[Chain, list[ActionRecord]]:
    return {"policy": [record(n) for n in range(number)]}


def test_a_whole_chain_is_read_once() -> None:
    audit = FakeAudit(log(3))
    assert verify_chain("policy", audit, ()) == Proven(3, ())
    assert verify_chain("fuse", audit, ()) == Proven(0, ())


def test_its_copies_are_compared() -> None:
    copy = Copy(NOW.date(), Head(4, b"x"))
    (problem,) = verify_chain("policy", FakeAudit(log(3)), [copy]).problems
    assert problem == ChainProblem(4, "policy ends with record 3, and had 4 when its head was copied on 2026-03-10")


class Appending(FakeAudit):
    """Somebody appends whenever records are read: the new one is seen, or its head first."""

    def __init__(self, actions: dict[Chain, list[ActionRecord]], *, behind: bool) -> None:
        super().__init__(actions)
        self.lists, self.behind = actions, behind

    def stored(self, chain: Chain) -> Any:
        found = list(super().stored(chain))
        self.lists[chain].append(record(len(self.lists[chain])))
        return iter(found if self.behind else list(super().stored(chain)))


def test_what_others_append_meanwhile_is_no_problem() -> None:
    for behind in (True, False):
        assert verify_chain("policy", Appending(log(3), behind=behind), ()).problems == ()


def test_a_record_that_a_query_shows_a_moment_after_its_head_is_no_problem() -> None:
    class Late(FakeAudit):
        reads = 0

        def stored(self, chain: Chain) -> Any:
            self.reads += 1
            found = list(super().stored(chain))
            return iter(found[:-1] if self.reads == 1 else found)

    audit = Late(log(3))
    assert verify_chain("policy", audit, ()) == Proven(3, ())
    assert audit.reads == 2


def test_what_is_broken_twice_is_broken() -> None:
    audit = FakeAudit(log(3))
    records = list(audit.stored("policy"))
    audit.altered["policy"] = [records[0], msgspec.structs.replace(records[1], body=b"x"), records[2]]
    assert [p.number for p in verify_chain("policy", audit, ()).problems] == [2]
    audit.altered["policy"] = [*records, StoredRecord(9, b"", b"")]
    assert [p.number for p in verify_chain("policy", audit, ()).problems] == [9]
