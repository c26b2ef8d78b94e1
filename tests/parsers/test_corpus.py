"""Payloads this project did not write, read in place: every field that their expectations name, compared one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.cli.local.parse import parse_payload
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.payload import read_payloads

DATA = Path(__file__).parents[3] / "shared" / "data"
CORPUS = DATA / "corpus"
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="corpus absent: ../shared/data/corpus")

EXPECTED: dict[str, Any] = json.loads((DATA / "expected.json").read_bytes())["files"] if CORPUS.is_dir() else {}
FINISHED = {"COMPLETE", "ACTIVE", "INITIAL_SCAN_COMPLETE"}
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNKNOWN")
# Not said by any line: what the kind is called, how many rows there were before merging, why a file might be refused.
NOT_COMPARED = {"kind", "notes", "envelope", "patch", "refused", "read", "by_severity_or"}
Line = dict[str, Any]


def test_every_payload_says_what_is_expected_of_it(record_property: Callable[[str, object], None]) -> None:
    fields = sum(compared(name) for name in EXPECTED)
    record_property("counted", f"corpus: {len(EXPECTED)} files, {fields} fields compared")
    assert len(EXPECTED) == 68
    assert fields > 1500


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_payload(name: str) -> None:
    assert compared(name) > 0


def compared(name: str) -> int:
    """Compares one file, as it stands and patched; answers with the number of fields that agreed."""
    expected = EXPECTED[name]
    text, envelope = (CORPUS / name).read_bytes(), expected.get("envelope")
    payload = unwrapped(json.loads(text), envelope)
    # Without an envelope the bytes go in as they are, keys that stand twice included.
    count = compare(name, json.dumps(payload).encode() if envelope else text, expected, expected["refused"])
    if patch := expected.get("patch"):
        for pointer, value in patch.items():
            set_at(payload, pointer, value)
        patched = expected | {"images": patched_images(expected)}
        count += compare(name, json.dumps(payload).encode(), patched, refused=False)
    return count


def compare(name: str, text: bytes, expected: Line, refused: bool | None) -> int:
    payloads = list(read_payloads(text))
    assert len(payloads) == 1, name
    try:
        lines = parse_payload(payloads[0])
    except RefusedPayloadError as error:
        return refusal(name, error, refused)
    assert refused in (False, None), name
    facts = {key: value for key, value in expected.items() if key not in NOT_COMPARED}
    said = dict(sayings(lines, expected))
    count = 1
    for key, want in facts.items():
        if key == "complete" and key not in said:
            continue
        if key == "images":
            want = [{k: v for k, v in image.items() if k != "identity_problems"} for image in want]
        assert said[key] == want, f"{name}: {key}"
        count += leaves(want)
    return count


def refusal(name: str, error: RefusedPayloadError, refused: bool | None) -> int:
    assert refused in (True, None), f"{name}: {error}"
    assert error.path.startswith("$"), name
    assert error.reason, name
    return 1


def sayings(lines: list[Line], expected: Line) -> Iterator[tuple[str, Any]]:
    """What the lines say, in the words of the expectations; only what this payload is asked about."""
    findings = [line for line in lines if line["kind"] == "finding"]
    scans = [line for line in lines if line["kind"] == "scan"]
    ignored = [line for line in lines if line["kind"] == "ignored"]
    wholly = bool(ignored) and not any("image" in line for line in lines)
    yield "ignored", None if expected["ignored"] is None else wholly
    yield "images", images(lines, expected["images"])
    yield from sums(findings, expected)
    state = scans[0]["scan_state"] if scans else None
    given = expected["scan_state"]
    yield "scan_state", given if given in FINISHED and state == "COMPLETE" else state
    # What is null here is a bare row, which is a list of one only in this test, or no list at all.
    if expected["complete"] is not None and (completes := {line["complete"] for line in lines if "complete" in line}):
        yield "complete", completes.pop()
    yield "clean", clean(scans, findings, expected)
    if "details" in expected:
        yield "details", [detail(line, want) for line, want in zip(findings, expected["details"], strict=True)]
    if "not_ecr" in expected:
        yield "not_ecr", sum(line["count"] for line in ignored)
        yield "not_ecr_types", types(ignored)
    if "header_counts" in expected:
        yield "header_counts", scans[0]["header_counts"]
        yield "header_mismatch", scans[0]["header_mismatch"]
        yield "scan_completed", same_clock(scans[0]["scanned_at"], expected["scan_completed"])
    if "event_counts" in expected:
        yield "event_counts", scans[0]["counts"]
    if "event_total" in expected:
        yield "event_total", scans[0]["total"]
    if "action" in expected:
        yield "action", lines[0]["action"]
    if "repositories" in expected:
        yield "repositories", [repository(line) for line in lines if line["kind"] == "repository"]


def sums(findings: list[Line], expected: Line) -> Iterator[tuple[str, Any]]:
    listed = expected["findings"] is not None or findings
    opened = [line for line in findings if line["status"] == "OPEN"]
    yield "findings", len(findings) if listed else None
    yield "open", len(opened) if listed else None
    yield "by_severity", by_severity(findings) if expected["by_severity"] is not None else None
    yield "open_by_severity", by_severity(opened) if expected["open_by_severity"] is not None else None
    ids = sorted({line["vulnerability_id"] for line in findings})
    yield "vulnerability_ids", ids if expected["vulnerability_ids"] is not None else None


def images(lines: list[Line], expected: list[Line]) -> list[Line]:
    said: dict[tuple[str, ...], Line] = {}
    for line in lines:
        if image := line.get("image"):
            key = (image["registry"], image["region"], image["repository"], image["digest"])
            said.setdefault(key, line)
    assert len(said) == len(expected)
    return [image_fields(line, want) for line, want in zip(said.values(), expected, strict=True)]


def image_fields(line: Line, want: Line) -> Line:
    image = line["image"]
    fields = {"registry_id": image["registry"]} | {
        key: image[key] for key in ("region", "repository", "digest", "tags")
    }
    if "pushed_at" in want:
        fields["pushed_at"] = same_clock(line["pushed_at"], want["pushed_at"])
        fields |= {key: line[key] for key in ("size_bytes", "manifest_media_type", "summary_counts", "clean")}
        given = want["scan_state"]
        fields["scan_state"] = given if given in FINISHED and line["scan_state"] == "COMPLETE" else line["scan_state"]
    return fields


def clean(scans: list[Line], findings: list[Line], expected: Line) -> bool | None:
    """Clean is what a line calls clean, or what a finding that is open denies; nothing said is null."""
    if scans:
        return expected["clean"] if expected["clean"] is None and not scans[0]["clean"] else bool(scans[0]["clean"])
    return False if any(line["status"] == "OPEN" for line in findings) else None


def detail(line: Line, want: Line) -> Line:
    said = {
        "id": line["vulnerability_id"],
        "severity": line["severity"],
        "severity_given": line["severity_raw"],
        "status": line["status"],
        "score": line["score"],
        "fix_available": line["fix_available"],
        "first_observed": same_clock(line["first_seen"], want.get("first_observed")),
        "cvss2_score": line.get("cvss2_score"),
        "cvss3_score": line.get("cvss3_score"),
        "packages": [package(p, w) for p, w in zip(line["packages"], want["packages"], strict=True)],
    }
    return {key: value for key, value in said.items() if key in want}


def package(said: Line, want: Line) -> Line:
    version = want["version"]
    if want.get("release"):
        version = f"{version}-{want['release']}"
    if want.get("epoch"):
        version = f"{want['epoch']}:{version}"
    parts = {key: want[key] for key in ("epoch", "release") if key in want}
    whole = want["version"] if said["version"] == version else said["version"]
    fields = {"name": said["name"], "version": whole, "fixed_in": said["fixed_version"]} | parts
    return {key: value for key, value in fields.items() if key in want}


def by_severity(findings: list[Line]) -> dict[str, int]:
    return {s: sum(line["severity"] == s for line in findings) for s in SEVERITIES}


def types(ignored: list[Line]) -> dict[str, int]:
    named: dict[str, int] = {}
    for line in ignored:
        if line["count"]:
            listed = line["reason"].rpartition(": ")[2].split(", ")
            named |= {name: int(count) for count, name in (entry.split(" ") for entry in listed)}
    return named


def repository(line: Line) -> Line:
    keys = ("repository", "arn", "tag_mutability", "scan_on_push")
    return {"registry_id": line["registry"], **{key: line[key] for key in keys}}


def same_clock(said: str | None, want: str | None) -> str | None:
    """A time without a zone is the clock as given."""
    return want if said and want and said.rstrip("Z") == want.rstrip("Z") else said


def unwrapped(document: Any, envelope: str | None) -> Any:
    if envelope is None:
        return document
    if envelope.startswith("placebo"):
        return with_times(document["data"])
    if envelope.startswith("wrapper"):
        return document["data"]
    if envelope.startswith("an array"):
        return document[0]
    key = envelope.split('"')[1]
    return {key: document if isinstance(document, list) else [document]}


def with_times(value: Any) -> Any:
    if isinstance(value, list):
        return [with_times(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("__class__") == "datetime":
        day = f"{value['year']:04}-{value['month']:02}-{value['day']:02}"
        clock = f"{value['hour']:02}:{value['minute']:02}:{value['second']:02}.{value['microsecond']:06}"
        return f"{day}T{clock}Z"
    return {key: with_times(item) for key, item in value.items()}


def set_at(document: Any, pointer: str, value: Any) -> None:
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
    for part in way:
        document = document[int(part) if isinstance(document, list) else part]
    document[int(last) if isinstance(document, list) else last] = value


def patched_images(expected: Line) -> list[Line]:
    """The expected images, carrying the values that the patch set."""
    image = dict(expected["images"][0])
    for pointer, value in expected["patch"].items():
        if pointer.endswith(("/image-digest", "/imageHash")):
            image["digest"] = value
        if pointer.endswith("/registryId"):
            image["registry_id"] = value
    return [image, *expected["images"][1:]]


def leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(leaves(item) for item in value.values()) or 1
    if isinstance(value, list):
        return sum(leaves(item) for item in value) or 1
    return 1
