"""The JSON of an alert: its keys are those of the docs, and whatever an alert holds is bounded and inert in it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from chalicelib.domain.alerts.alert import Alert, AlertReason, TopFinding
from chalicelib.domain.alerts.alert_document import MAX_BYTES, MOST_LINES, alert_id, encode_alert
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, InUseState, Kind
from chalicelib.domain.images.verdict import Decision

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
FULL = Alert(
    event="verdict",
    title="BLOCK: prod/api:v1 (was WARN)",
    at=NOW,
    ref=REF,
    repository="prod/api",
    tags=("v1",),
    decision=Decision.BLOCK,
    former=Decision.WARN,
    reasons=(AlertReason("exploited", Decision.BLOCK, "known to be exploited", 2, 1),),
    findings=(TopFinding("CVE-2026-0001", Severity.CRITICAL, "openssl", "3.0.1", "3.0.2", True, 0.9, 9.8),),
    more_findings=1,
    counts=(1, 1, 0, 0, 0, 0),
    running=InUseState.YES,
    what_to_do=("Upgrade openssl to 3.0.2",),
    console_url="https://eu-west-1.console.aws.amazon.com/ecr/x",
    number=7,
)
EMPTY = Alert(event="summary", title="Policy 2", at=NOW)
PAGE = Path(__file__).parents[3] / "docs/alerts.md"


def document(alert: Alert) -> dict[str, object]:
    return dict(json.loads(encode_alert(alert)))


def keys(value: object) -> object:
    """The form of a document: its keys, in order; of a list that of its first row."""
    if isinstance(value, dict):
        return {name: keys(part) for name, part in value.items()}
    return [keys(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_the_documented_example_is_what_is_sent() -> None:
    section = PAGE.read_text().partition("\n## Webhook\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```json\n(.*?)```", section, re.S)
    assert json.loads(example) == document(FULL)
    told = set(re.findall(r"^\| (`.*?) \|", section, re.M))
    named = {name for row in told for name in re.findall(r"`(\w+)`", row)}
    assert document(FULL).keys() <= named, "every key is explained"


def test_every_alert_has_the_same_keys_and_what_is_not_known_is_null() -> None:
    empty = document(EMPTY)
    assert empty.keys() == document(FULL).keys()
    unknown = {name for name, value in empty.items() if value is None}
    assert unknown == {
        *("image", "repository", "decision", "former", "stands", "verdict", "running", "severity", "kev"),
        "open_findings",
    }


def test_without_a_complete_scan_counts_are_not_complete_and_an_index_has_none() -> None:
    assert document(msgspec.structs.replace(FULL, listed=False))["open_findings"] == {
        "complete": False,
        "counts": dict(zip(map(str, Severity), FULL.counts, strict=True)),
    }
    assert document(msgspec.structs.replace(FULL, listed=False, counts=()))["open_findings"] == {
        "complete": False,
        "counts": {},
    }
    assert document(msgspec.structs.replace(FULL, kind=Kind.INDEX))["open_findings"] is None


@pytest.mark.parametrize("text", ["a\nb\r\n\x00c", "\u202eevil", "http://evil.example", "\ud800", "x" * 1_000_000])
def test_texts_of_others_are_one_bounded_line_each(text: str) -> None:
    hostile = {
        **dict.fromkeys(("title", "repository"), text),
        **dict.fromkeys(("tags", "notes", "registry", "radius", "what_to_do"), (text,)),
        "reasons": (AlertReason(text, Decision.WARN, text),),
        "findings": (TopFinding(text, Severity.LOW, text, text, text),),
        "ref": ImageRef(text, text, text, text),
        "links": ((text, "javascript:alert(1)"), (text, "https://example.com/\n"), (text, "https://example.com/")),
    }
    body = encode_alert(msgspec.structs.replace(FULL, **hostile))
    assert len(body) <= MAX_BYTES
    assert not re.search(rb"\\n|\\r|\\u0000|://evil|javascript", body)
    assert "\u202e" not in body.decode()


@pytest.mark.parametrize("many", [MOST_LINES[0] + 1, 10_000])
def test_what_does_not_fit_is_left_out_and_said_to_be(many: int) -> None:
    lines = tuple("\U0001f600" * 1_000 for _ in range(many))
    body = encode_alert(msgspec.structs.replace(FULL, notes=lines, radius=lines, registry=lines, what_to_do=lines))
    assert len(body) <= MAX_BYTES
    assert json.loads(body)["shortened"] is True
    assert document(FULL)["shortened"] is False
    assert len(document(msgspec.structs.replace(FULL, notes=("short",) * many))["notes"]) == MOST_LINES[0]  # type: ignore[arg-type]


def test_an_alert_that_is_sent_again_has_the_same_id_and_another_alert_another() -> None:
    later = {"at": NOW + timedelta(minutes=5)}
    assert alert_id(FULL) == alert_id(msgspec.structs.replace(FULL, **later, notes=("late",)))
    assert alert_id(EMPTY) != alert_id(msgspec.structs.replace(EMPTY, **later)), "the next one of its kind"
    others = [{"number": 8}, {"act": True}, {"title": "x"}, {"event": "x"}, {"ref": REF.__class__("1", "2", "3", "4")}]
    assert len({alert_id(msgspec.structs.replace(FULL, **one)) for one in [{}, *others]}) == len(others) + 1
