"""Documents survive packing exactly, old formats stay readable, and 200 findings fit ten units."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.packing.packing import (
    ANSWERS,
    ECOSYSTEMS,
    FIXES,
    FORMAT,
    SEVERITIES,
    SOURCES,
    STATUSES,
    pack_document,
    unpack_document,
)
from chalicelib.domain.assessment.merge import merge_listing
from chalicelib.domain.images.finding import (
    STORED_OF_FINDING,
    Ecosystem,
    Finding,
    FindingChange,
    FindingsDocument,
    FindingStatus,
    FixAvailable,
    Listing,
    Package,
    Severity,
)
from chalicelib.domain.images.image import ImageRef, Scan, ScanState, Source
from chalicelib.parsers.findings.rows import parse_list_findings
from tests.fakes.images import finding, ref
from tests.fakes.table import stored_form

BENCH = Path(__file__).parents[3].parent / "shared" / "bench"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MAYBE = st.none() | TEXT
TIMES = st.none() | st.integers(0, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC))
HEX32 = st.integers(0, 2**128 - 1).map(lambda n: f"{n:032x}")
IDS = (
    HEX32.map(lambda h: f"basic:{h}")
    | HEX32.map(lambda h: f"arn:aws:inspector2:eu-west-1:111122223333:finding/{h}")
    | HEX32.map(lambda h: f"arn:aws-cn:inspector2:cn-north-1:444455556666:finding/{h}")
    | TEXT
)
VULNERABILITIES = (
    st.builds("CVE-{}-{:04d}".format, st.integers(1999, 2030), st.integers(0, 10**7))
    | st.sampled_from(["CVE-2024-0001", "CVE-2024-00001", "CVE-0999-1234", "CVE-2024-١٢٣٤", "GHSA-9f46-5r25-5wfm", ""])
    | TEXT
)
PACKAGES = st.builds(
    Package,
    name=st.sampled_from(["openssl", "a", "", "\0"]) | TEXT,
    version=MAYBE,
    manager=MAYBE,
    path=st.sampled_from([None, "usr/lib/openssl", "aa", "\0", "\0\0a", ""]) | MAYBE,
    arch=MAYBE,
    fixed_version=MAYBE,
    layer=st.none() | st.integers(0, 3).map(lambda n: f"sha256:{n:064x}") | TEXT,
)
FINDINGS = st.builds(
    Finding,
    vulnerability_id=VULNERABILITIES,
    severity=st.sampled_from(Severity),
    severity_raw=TEXT,
    source=st.sampled_from(Source),
    source_finding_id=IDS,
    status=st.sampled_from(FindingStatus),
    score=st.none() | st.floats(0, 10) | st.integers(0, 100).map(lambda n: n / 10),
    epss=st.none() | st.integers(0, 100).map(lambda n: n / 100),
    kev=st.sampled_from([None, True, False]),
    exploit_available=st.sampled_from([None, True, False]),
    fix_available=st.none() | st.sampled_from(FixAvailable),
    packages=st.lists(PACKAGES, max_size=3).map(tuple),
    ecosystem=st.none() | st.sampled_from(Ecosystem),
    related_ids=st.lists(VULNERABILITIES, max_size=3).map(tuple),
    first_seen=TIMES,
    first_seen_in_line=TIMES,
    last_seen=TIMES,
    updated_at=TIMES,
    resolved_at=TIMES,
    resolved_reason=MAYBE,
    vulnerability_source=MAYBE,
)
CHANGES = st.builds(
    FindingChange,
    at=TIMES.filter(bool),
    finding_id=IDS,
    field=st.sampled_from(["status", "severity", "score", "epss", "kev"]),
    former=st.none() | st.booleans() | st.floats(0, 10) | TEXT,
)
DOCUMENTS = st.builds(
    FindingsDocument,
    ref=st.just(ref(1)),
    revision=st.integers(1, 10**6),
    findings=st.lists(FINDINGS, max_size=8, unique_by=lambda f: f.source_finding_id).map(tuple),
    source=st.none() | st.sampled_from(Source),
    source_since=TIMES,
    scanned_at=TIMES,
    log=st.lists(CHANGES, max_size=4).map(tuple),
)


def by_id(document: FindingsDocument) -> dict[str, Finding]:
    return {f.source_finding_id: f for f in document.findings}


@given(DOCUMENTS)
@settings(max_examples=150, deadline=None)
def test_everything_a_document_keeps_survives_packing(document: FindingsDocument) -> None:
    back = unpack_document(document.ref, document.revision, pack_document(document))
    assert by_id(back) == by_id(document)
    assert len(back.findings) == len(document.findings)
    assert msgspec.structs.replace(back, findings=()) == msgspec.structs.replace(document, findings=())


@given(DOCUMENTS)
@settings(max_examples=50, deadline=None)
def test_what_was_stored_once_is_stored_the_same_again(document: FindingsDocument) -> None:
    stored = stored_form(document)
    assert stored_form(stored) == stored
    assert pack_document(stored) == pack_document(document)


def test_texts_stay_behind_for_the_catalogue_and_fractions_of_seconds_are_dropped() -> None:
    told = finding(1, title="t", description="d", url="u", references=("r",), cvss_vector="v", updated_at=NOW)
    late = msgspec.structs.replace(told, updated_at=NOW + timedelta(milliseconds=700), epss=0.12345)
    (kept,) = stored_form(FindingsDocument(ref(1), 1, (late,))).findings
    assert (kept.title, kept.description, kept.url, kept.references, kept.cvss_vector) == (None, None, None, (), None)
    assert kept.updated_at == NOW
    assert kept.epss == 0.12


def test_a_document_gives_back_the_fields_that_a_condition_may_read_and_no_other() -> None:
    told = Finding(
        *("CVE-2026-0001", Severity.HIGH, "High", Source.ENHANCED, "arn:aws:inspector2:::finding/1"),
        *(FindingStatus.RESOLVED, 7.5, "v", 0.25, True, False, FixAvailable.YES, (Package("a"),), Ecosystem.OS),
        *(("GHSA-9f46-5r25-5wfm",), NOW, NOW, NOW, NOW, NOW, "gone", "NVD", "t", "d", "u", ("r",)),
    )
    (kept,) = stored_form(FindingsDocument(ref(1), 1, (told,))).findings
    back = {name for name in Finding.__struct_fields__ if getattr(kept, name) == getattr(told, name)}
    assert back == STORED_OF_FINDING


def test_a_merge_with_what_was_stored_finds_nothing_new() -> None:
    listing_of = {"source": Source.ENHANCED, "listed_at": NOW, "scan": Scan(ScanState.COMPLETE), "complete": True}
    findings = tuple(
        finding(n, epss=0.123456, score=7.25, first_seen=NOW - timedelta(seconds=1.5), updated_at=NOW) for n in range(9)
    )
    listing = Listing(findings=findings, **listing_of)  # type: ignore[arg-type]
    consistency_delay = timedelta(seconds=60)
    first = merge_listing(FindingsDocument(ref(1)), listing, consistency_delay=consistency_delay, archive=False)
    again = merge_listing(stored_form(first.document), listing, consistency_delay=consistency_delay, archive=False)
    assert first.changed
    assert not again.changed


def test_every_word_of_an_enum_has_its_number_and_keeps_it() -> None:
    assert set(SEVERITIES) == set(Severity)
    assert set(STATUSES) == set(FindingStatus)
    assert set(SOURCES) == set(Source)
    assert set(FIXES) == {None, *FixAvailable}
    assert set(ECOSYSTEMS) == {None, *Ecosystem}
    assert ANSWERS == (None, False, True)
    assert [s.value for s in SEVERITIES] == ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNKNOWN"]
    assert [s.value for s in STATUSES] == ["OPEN", "SUPPRESSED", "RESOLVED"]


# --- formats

OLD = Finding(
    "CVE-2024-0001", Severity.HIGH, "HIGH", Source.ENHANCED,
    "arn:aws:inspector2:eu-west-1:111122223333:finding/00000000000000000000000000000001",
    score=7.5, epss=0.25, kev=True, exploit_available=False, fix_available=FixAvailable.YES,
    packages=(Package("openssl", "3.0.1-1", "OS", None, "X86_64", "3.0.2-1", f"sha256:{1:064x}"),),
    ecosystem=Ecosystem.OS, first_seen=NOW - timedelta(days=3), last_seen=NOW, updated_at=NOW,
    vulnerability_source="NVD",
)  # fmt: skip
# As these formats were written once; nothing may make them unreadable.
FORMAT_1 = (
    "AXicm7LC1c/D0c/Z1eVc5gb2Awcm3mEQXusc5qprZGBkomtgYGC4xMPT3QNMwJXeDEosyrNKLC+2yswrLkhNLskvMrJKLdUtTy0u"
    "0TW0MgQCIyAwBgKrtMy8lMy8dH0D/MBwiX+Aq99pBzkGMDhtfwHCOHxocaRr8MTpy/MLUvOKi3OWG+sZ6BnqGi7yDz6wLMLCLN7M"
    "BCxkpGt40704I9HI1MyKgFWEAMjsc5lrhB3AIQIJlgOL/cJcAB7fWaQ="
)
FORMAT_2 = (
    "ApTEEAAAAAAAAAAAAAAAAAAAAAHEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABxHSbddMosSjPKrG82Cozr7ggNbkk"
    "v8jIKrVUtzy1uETX0MoQCIyAwBgIrNIy81Iy89L1l3h4unss9gtz2ezuEeyoa5lmYqZrWmRkqmtanpa7PL8gNa+4OGe5sZ6BnqGu"
    "4SL/4GURFmbxZiaLjXQNl6QWFBcDAMRcmz6V8VzmGmEHILmB/cCBSUcYGZimTprAAKQhJBDdYRA6y8LIxARETMxMk3wmTJKawHiO"
    "gf0lI5Dkv8TAwMQ0HaISgoAaQYgVyJzKCALToKohJk48bX9yJgjMAgA="
)


def test_a_document_of_format_1_stays_readable() -> None:
    document = unpack_document(ref(1), 3, base64.b64decode(FORMAT_1))
    assert document == FindingsDocument(ref(1), 3, (OLD,), Source.ENHANCED, NOW)


def test_a_document_of_format_2_stays_readable() -> None:
    document = unpack_document(ref(1), 4, base64.b64decode(FORMAT_2))
    seen_in_line = NOW - timedelta(days=9)
    kept = msgspec.structs.replace(OLD, related_ids=("GHSA-9f46-5r25-5wfm",), first_seen_in_line=seen_in_line)
    log = (FindingChange(NOW, OLD.source_finding_id, "epss", 0.2),)
    assert document == FindingsDocument(ref(1), 4, (kept,), Source.ENHANCED, NOW, None, log)


def test_a_document_of_an_old_format_is_put_in_the_newest() -> None:
    document = unpack_document(ref(1), 3, base64.b64decode(FORMAT_1))
    packed = pack_document(document)
    assert packed[0] == FORMAT
    assert unpack_document(ref(1), 3, packed) == document


def test_a_newer_format_is_refused_and_says_so() -> None:
    with pytest.raises(ValueError, match=f"format 9, and this code reads up to {FORMAT}"):
        unpack_document(ref(1), 1, b"\x09rest")


# --- size


@pytest.mark.parametrize("variety", [[], ["--variety", "--ties", "0.5"]], ids=["plain", "variety"])
def test_two_hundred_findings_fit_eight_units(
    variety: list[str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if not (BENCH / "generate.py").exists():
        pytest.skip("generator absent: ../shared/bench/generate.py")
    arguments = [sys.executable, BENCH / "generate.py", tmp_path, "--images", "4", "--findings", "200"]
    subprocess.run([*arguments, "--only", "pages", *variety], check=True, capture_output=True)
    found: dict[ImageRef, list[Finding]] = {}
    for line in (tmp_path / "pages.jsonl").read_bytes().splitlines():
        for row in parse_list_findings(line).rows:
            found.setdefault(row.image.ref, []).append(row.finding)
    sizes = []
    for image, findings in found.items():
        document = FindingsDocument(image, 1, tuple(findings), Source.ENHANCED, NOW)
        names_and_keys = 8 + len(f"IMAGE#{image.path}FINDINGS") + 2
        sizes.append(names_and_keys + len(pack_document(document)))
    record_property("document_bytes", max(sizes))
    print(
        f"\n200 findings{' with variety' if variety else ''}: {sum(sizes) / len(sizes):.0f} bytes, {max(sizes)} at most"
    )
    assert len(sizes) == 4
    assert max(sizes) <= 8 * 1024
