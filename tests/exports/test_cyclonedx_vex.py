"""Waivers as CycloneDX VEX: valid, read back whole, and others' documents read as far as they go."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver, waiver_id
from chalicelib.errors import InputError
from chalicelib.exports.cyclonedx_vex import VexStatement, read_vex, write_vex

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).map(lambda t: f"x{t}x")
MOMENT = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@st.composite
def waivers(draw: st.DrawFn) -> Waiver:
    vulnerability = draw(st.none() | st.sampled_from(["CVE-2026-0001", "GHSA-xxxx-yyyy-zzzz", "CVE-2026-0002"]))
    rule = draw(st.sampled_from(["overdue", "exploited"])) if vulnerability is None or draw(st.booleans()) else None
    package = draw(st.none() | TEXT) if vulnerability else None
    repository = draw(st.sampled_from(["team/*", "prod/api", "*"]))
    status = draw(st.none() | st.sampled_from(list(VexStatus)))
    affected = status is not VexStatus.NOT_AFFECTED
    return Waiver(
        id=waiver_id(repository, vulnerability, package, rule),
        repository=repository,
        vulnerability_id=vulnerability,
        package=package,
        rule=rule,
        reason=draw(TEXT | st.just("two\nlines\tof reason")),
        approved_by=draw(TEXT),
        expires_at=draw(MOMENT),
        created_at=draw(MOMENT),
        status=status,
        justification=None if affected else draw(st.sampled_from(list(VexJustification))),
    )


def waiver_of(said: VexStatement) -> Waiver:
    assert said.ours
    assert said.repository is not None
    assert said.reason is not None
    assert said.approved_by is not None
    assert said.expires_at is not None
    assert said.created_at is not None
    return Waiver(
        id=waiver_id(said.repository, said.vulnerability_id, said.package, said.rule),
        repository=said.repository,
        vulnerability_id=said.vulnerability_id,
        package=said.package,
        rule=said.rule,
        reason=said.reason,
        approved_by=said.approved_by,
        expires_at=said.expires_at,
        created_at=said.created_at,
        status=said.status,
        justification=said.justification,
    )


@given(st.lists(waivers(), max_size=6, unique_by=lambda w: w.id))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back_whole(some: list[Waiver]) -> None:
    back = [waiver_of(said) for said in read_vex(write_vex(some, NOW).encode())]
    assert sorted(back, key=lambda w: w.id) == sorted(some, key=lambda w: w.id)


@given(st.lists(waivers(), min_size=1, max_size=3, unique_by=lambda w: w.id))
@settings(max_examples=5, deadline=None)
def test_the_document_is_valid_by_the_schema(some: list[Waiver]) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(write_vex(some, NOW)) is None


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (VexStatus.NOT_AFFECTED, "not_affected"),
        (VexStatus.AFFECTED, "exploitable"),
        (VexStatus.FIXED, "resolved"),
        (VexStatus.UNDER_INVESTIGATION, "in_triage"),
        (None, None),
    ],
)
def test_openvex_words_become_those_of_cyclonedx(status: VexStatus | None, state: str | None) -> None:
    one = Waiver(
        id="w-0000000001",
        repository="prod/api",
        vulnerability_id="CVE-2026-0001",
        reason="not reachable",
        approved_by="platform security",
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
        status=status,
        justification=VexJustification.VULNERABLE_CODE_NOT_IN_EXECUTE_PATH if status == "not_affected" else None,
    )
    written = json.loads(write_vex([one], NOW))
    (entry,) = written["vulnerabilities"]
    assert (entry["id"], entry["bom-ref"]) == ("CVE-2026-0001", "w-0000000001")
    assert entry["analysis"].get("state") == state
    assert entry["analysis"]["detail"] == "not reachable"
    assert entry["analysis"].get("justification") == ("code_not_reachable" if status == "not_affected" else None)
    assert [a["ref"] for a in entry["affects"]] == [c["bom-ref"] for c in written["components"]]


def test_others_documents_are_read_as_far_as_they_go() -> None:
    entry = {
        "id": "CVE-2026-0007",
        "source": {"name": "NVD"},
        "ratings": [{"score": 9.8, "method": "CVSSv31"}],
        "analysis": {"state": "false_positive", "justification": "protected_at_runtime", "response": ["update"]},
        "affects": [{"ref": "urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#pkg"}],
        "properties": [{"name": "aquasecurity:trivy:x", "value": "y"}, {}],
    }
    text = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.4", "vulnerabilities": [entry, {"id": "CVE-1"}]})
    first, second = read_vex(text.encode())
    assert (first.vulnerability_id, first.ours, first.reason) == ("CVE-2026-0007", False, None)
    assert first.status is VexStatus.NOT_AFFECTED
    assert first.justification is VexJustification.INLINE_MITIGATIONS_ALREADY_EXIST
    assert (first.packages, first.unresolved) == ((), ("urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#pkg",))
    assert (second.status, second.place) == (None, "$.vulnerabilities[1]")
    assert read_vex(b'{"bomFormat": "CycloneDX", "specVersion": "1.6"}') == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"specVersion": "1.6"}',
        b'{"bomFormat": "SPDX", "specVersion": "1.6"}',
        b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "vulnerabilities": [{"id": 7}]}',
        b'{"bomFormat": "CycloneDX", "specVersion": "1.3"}',
        b'{"bomFormat": "CycloneDX", "specVersion": "1.05"}',
        b'{"bomFormat": "CycloneDX", "specVersion": "2.0"}',
        b'{"bomFormat": "CycloneDX", "specVersion": ""}',
        b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": '
        b'{"tools": {"components": [{"name": "lazaretto"}]}}, "vulnerabilities": '
        b'[{"properties": [{"name": "lazaretto:expires_at", "value": "soon"}]}]}',
    ],
)
def test_what_is_no_such_document_is_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        read_vex(text)


def document(entry: dict[str, Any], **more: Any) -> bytes:
    said = {"bomFormat": "CycloneDX", "specVersion": "1.6", **more}
    return json.dumps({**said, "vulnerabilities": [{"id": "CVE-2026-0001", **entry}]}).encode()


COMPONENTS = [
    {"type": "library", "bom-ref": "foo", "name": "foo", "purl": "pkg:deb/debian/libfoo@1.0"},
    {
        "type": "library",
        "bom-ref": "bar",
        "name": "bar",
        "components": [{"type": "library", "bom-ref": "in", "name": "i"}],
    },
    {"type": "container", "bom-ref": "image", "name": "api", "purl": "pkg:oci/api"},
    {"type": "container", "bom-ref": "bare", "name": "api"},
    {"type": "library", "bom-ref": "all", "name": "*"},
    {"type": "library", "bom-ref": "purled", "name": "x", "purl": "pkg:generic/li%3F"},
    {"type": "library", "bom-ref": "not", "name": "!zlib"},
]
ABOUT = {"type": "application", "bom-ref": "product", "name": "product"}
SERIAL = "3e671687-395b-41f5-a30f-a58921a69b79"


@pytest.mark.parametrize(
    ("refs", "packages", "unresolved"),
    [
        (["foo"], ("libfoo",), ()),
        (["foo", "bar", "in", "foo"], ("libfoo", "bar", "i"), ()),
        (["pkg:maven/org.example/lib@1.0"], ("org.example:lib",), ()),
        ([f"urn:cdx:{SERIAL}/1#foo"], ("libfoo",), ()),
        ([f"urn:cdx:{SERIAL}/2#foo"], (), (f"urn:cdx:{SERIAL}/2#foo",)),
        ([f"urn:cdx:{SERIAL}/2#pkg:npm/left-pad@1.0"], ("left-pad",), ()),
        (["foo", "nowhere"], ("libfoo",), ("nowhere",)),
        (["image"], (), ("image",)),
        (["bare"], (), ("bare",)),
        (["product"], (), ("product",)),
        (["all"], (), ("all",)),
        (["purled"], (), ("purled",)),
        (["not"], (), ("not",)),
        (["pkg:generic/*"], (), ("pkg:generic/*",)),
        ([], (), ()),
    ],
)
def test_what_an_entry_affects_is_a_package_of_the_document_or_unresolved(
    refs: list[str], packages: tuple[str, ...], unresolved: tuple[str, ...]
) -> None:
    more = {"components": COMPONENTS, "metadata": {"component": ABOUT}, "serialNumber": f"urn:uuid:{SERIAL}"}
    (said,) = read_vex(document({"affects": [{"ref": ref} for ref in refs]}, version=1, **more))
    assert (said.packages, said.unresolved, said.package) == (packages, unresolved, None)


def test_a_document_about_one_package_is_about_that_package() -> None:
    about = {"type": "library", "bom-ref": "product", "name": "x", "purl": "pkg:npm/left-pad@1.0"}
    (said,) = read_vex(document({"affects": [{"ref": "product"}]}, metadata={"component": about}))
    assert said.packages == ("left-pad",)


OURS = {"type": "application", "name": "lazaretto"}
CLAIMED = {
    f"lazaretto:{name}": value
    for name, value in {"repository": "*", "approved_by": "me", "expires_at": "2026-04-01T00:00:00Z"}.items()
}


@pytest.mark.parametrize(
    ("tools", "properties", "ours"),
    [
        ({"components": [OURS]}, CLAIMED, True),
        ({"components": [OURS]}, {"lazaretto:approved_by": "me"}, False),
        ({"components": [OURS, {"type": "application", "name": "another"}]}, CLAIMED, False),
        ({"components": [OURS], "services": [{"name": "another"}]}, CLAIMED, False),
        ({"components": [{"type": "application", "name": "another"}]}, CLAIMED, False),
        ([{"name": "lazaretto"}], CLAIMED, False),
        ({}, CLAIMED, False),
        (None, {**CLAIMED, "lazaretto:expires_at": "soon"}, False),
    ],
)
def test_only_what_bears_our_mark_says_repository_approver_and_end(
    tools: Any, properties: dict[str, str], ours: bool
) -> None:
    entry = {"properties": [{"name": name, "value": value} for name, value in properties.items()]}
    (said,) = read_vex(document(entry, metadata={"tools": tools} if tools is not None else {}))
    assert said.ours is ours
    assert (said.repository, said.approved_by) == (("*", "me") if ours else (None, None))
    assert (said.expires_at is not None) is ours


@pytest.mark.parametrize("version", ["1.4", "1.5", "1.6", "1.7", "1.10"])
def test_versions_from_1_4_on_are_read(version: str) -> None:
    assert read_vex(document({}, specVersion=version))


def test_the_repositories_of_a_document_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(BomRef, "__eq__", lambda one, other: compared.append(one) or one is other)
    said = {"reason": "fixed soon", "approved_by": "ann", "expires_at": NOW, "created_at": NOW, "rule": "overdue"}
    many = [Waiver(id=f"w{n}", repository=f"team/{n}", **said) for n in range(200)]
    assert len(read_vex(write_vex(many, NOW).encode())) == 200
    assert len(compared) < 200
