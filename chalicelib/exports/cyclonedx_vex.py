"""Waivers as a CycloneDX VEX document (1.6), and statements of such documents (1.4 and later) read back. No I/O.

A waiver is one entry of `vulnerabilities`: its repository glob a component of type `container` that the entry affects,
reason, status and justification its `analysis`. What CycloneDX has no word for stands in `properties` whose names begin
with `lazaretto:`, so that what was written here is read back whole. OpenVEX has five justifications, CycloneDX nine:
the exact word is a property too. Such properties count only in a document whose one tool, by its `metadata`, is ours.
Others' entries are about the packages that `affects` names. Only the command line imports this: the functions' bundle
has no CycloneDX library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.impact_analysis import ImpactAnalysisJustification, ImpactAnalysisState
from cyclonedx.model.vulnerability import BomTarget, Vulnerability, VulnerabilityAnalysis
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema.schema import SchemaVersion1Dot6

from chalicelib import __version__
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver
from chalicelib.errors import InputError
from chalicelib.exports.package_url import package_name

TOOL = "lazaretto"
NAMESPACE = f"{TOOL}:"
_READABLE = re.compile(r"1\.([4-9]|[1-9][0-9]+)")
_PACKAGES = ("library", "framework", "application")
_STATES = {
    VexStatus.NOT_AFFECTED: ImpactAnalysisState.NOT_AFFECTED,
    VexStatus.AFFECTED: ImpactAnalysisState.EXPLOITABLE,
    VexStatus.FIXED: ImpactAnalysisState.RESOLVED,
    VexStatus.UNDER_INVESTIGATION: ImpactAnalysisState.IN_TRIAGE,
}
_STATUSES = {state.value: status for status, state in _STATES.items()} | {
    "resolved_with_pedigree": VexStatus.FIXED,
    "false_positive": VexStatus.NOT_AFFECTED,
}
_JUSTIFICATIONS = {
    VexJustification.COMPONENT_NOT_PRESENT: ImpactAnalysisJustification.CODE_NOT_PRESENT,
    VexJustification.VULNERABLE_CODE_NOT_PRESENT: ImpactAnalysisJustification.CODE_NOT_PRESENT,
    VexJustification.VULNERABLE_CODE_NOT_IN_EXECUTE_PATH: ImpactAnalysisJustification.CODE_NOT_REACHABLE,
    VexJustification.VULNERABLE_CODE_CANNOT_BE_CONTROLLED_BY_ADVERSARY: (
        ImpactAnalysisJustification.REQUIRES_ENVIRONMENT
    ),
    VexJustification.INLINE_MITIGATIONS_ALREADY_EXIST: ImpactAnalysisJustification.PROTECTED_BY_MITIGATING_CONTROL,
}
_WORDS = {
    "code_not_present": VexJustification.VULNERABLE_CODE_NOT_PRESENT,
    "code_not_reachable": VexJustification.VULNERABLE_CODE_NOT_IN_EXECUTE_PATH,
    "requires_configuration": VexJustification.VULNERABLE_CODE_CANNOT_BE_CONTROLLED_BY_ADVERSARY,
    "requires_dependency": VexJustification.VULNERABLE_CODE_CANNOT_BE_CONTROLLED_BY_ADVERSARY,
    "requires_environment": VexJustification.VULNERABLE_CODE_CANNOT_BE_CONTROLLED_BY_ADVERSARY,
    "protected_by_compiler": VexJustification.INLINE_MITIGATIONS_ALREADY_EXIST,
    "protected_at_runtime": VexJustification.INLINE_MITIGATIONS_ALREADY_EXIST,
    "protected_at_perimeter": VexJustification.INLINE_MITIGATIONS_ALREADY_EXIST,
    "protected_by_mitigating_control": VexJustification.INLINE_MITIGATIONS_ALREADY_EXIST,
}


class VexStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry says. `ours`: it was written here; `repository` and all that follows it only we write, and it is
    None in others' documents. They have `packages`, the names of those they are about, and `unresolved`, the references
    to what is no package of the document. `place` is its place in the document, for complaints."""

    place: str
    vulnerability_id: str | None
    status: VexStatus | None
    justification: VexJustification | None
    reason: str | None
    packages: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    ours: bool = False
    repository: str | None = None
    package: str | None = None
    rule: str | None = None
    approved_by: str | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    even_if_exploited: bool | None = None


class _Named(msgspec.Struct):
    name: str | None = None
    value: str | None = None


class _Analysis(msgspec.Struct):
    state: str | None = None
    justification: str | None = None
    detail: str | None = None


class _Target(msgspec.Struct):
    ref: str


class _Entry(msgspec.Struct):
    id: str | None = None
    analysis: _Analysis | None = None
    affects: list[_Target] = []
    properties: list[_Named] = []


class _Component(msgspec.Struct):
    ref: str | None = msgspec.field(name="bom-ref", default=None)
    type: str | None = None
    name: str | None = None
    purl: str | None = None
    components: list[_Component] = []


class _Tools(msgspec.Struct):
    components: list[_Component] = []
    services: list[_Named] = []


class _Metadata(msgspec.Struct):
    tools: _Tools | list[_Named] | None = None
    component: _Component | None = None


class _Document(msgspec.Struct, rename="camel"):
    bom_format: str
    spec_version: str
    serial_number: str = ""
    version: int = 1
    metadata: _Metadata | None = None
    components: list[_Component] = []
    vulnerabilities: list[_Entry] = []


def write_vex(waivers: Iterable[Waiver], now: datetime) -> str:
    """The document as JSON, indented. Each export is a document of its own, with a serial number of its own."""
    bom = Bom()
    bom.metadata.timestamp = now
    bom.metadata.tools.components.add(Component(name=TOOL, version=__version__, type=ComponentType.APPLICATION))
    ordered = sorted(waivers, key=lambda w: (w.vulnerability_id or "", w.id))
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    # Each part is written by itself: a Bom compares every component it has with all the others.
    document["components"] = [_part(_component(name)) for name in sorted({w.repository for w in ordered})]
    document["vulnerabilities"] = [_part(_entry(waiver)) for waiver in ordered]
    return json.dumps(document, indent=2) + "\n"


def read_vex(text: bytes) -> Sequence[VexStatement]:
    """Raises InputError for what is no CycloneDX document in JSON, or says of ours what cannot be read."""
    try:
        document = msgspec.json.decode(text, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"no CycloneDX document in JSON: {error}") from error
    if document.bom_format != "CycloneDX":
        raise InputError(f"$.bomFormat: must be CycloneDX, not {document.bom_format[:40]!r}")
    if not _READABLE.fullmatch(document.spec_version):
        raise InputError(f"$.specVersion: must be 1.4 or a later 1.x, not {document.spec_version[:40]!r}")
    ours, packages = _is_ours(document), _packages(document)
    return [_statement(f"$.vulnerabilities[{n}]", e, packages, ours) for n, e in enumerate(document.vulnerabilities)]


def _part(part: Component | Vulnerability) -> Any:
    """As it stands in a document."""
    return json.loads(part.as_json(view_=SchemaVersion1Dot6))  # type: ignore[union-attr]


def _place(repository: str) -> str:
    return f"repository:{repository}"


def _component(repository: str) -> Component:
    return Component(name=repository, type=ComponentType.CONTAINER, bom_ref=_place(repository))


def _entry(waiver: Waiver) -> Vulnerability:
    properties = {
        "package": waiver.package,
        "rule": waiver.rule,
        "repository": waiver.repository,
        "approved_by": waiver.approved_by,
        "justification": waiver.justification,
        "expires_at": msgspec.to_builtins(waiver.expires_at),
        "created_at": msgspec.to_builtins(waiver.created_at),
        "even_if_exploited": "true" if waiver.even_if_exploited else None,
    }
    return Vulnerability(
        bom_ref=waiver.id,
        id=waiver.vulnerability_id,
        description=None if waiver.vulnerability_id else f"Everything that rule {waiver.rule} is about",
        analysis=VulnerabilityAnalysis(
            state=None if waiver.status is None else _STATES[waiver.status],
            justification=None if waiver.justification is None else _JUSTIFICATIONS[waiver.justification],
            detail=waiver.reason,
        ),
        affects=[BomTarget(ref=_place(waiver.repository))],
        properties=[Property(name=NAMESPACE + name, value=v) for name, v in properties.items() if v is not None],
    )


def _is_ours(document: _Document) -> bool:
    """A document that another tool had its hands on is no more what was written here."""
    tools = document.metadata.tools if document.metadata else None
    return isinstance(tools, _Tools) and not tools.services and [tool.name for tool in tools.components] == [TOOL]


def _packages(document: _Document) -> dict[str, str]:
    """Name of each package by the references to it, those by which another document would link it included."""
    found = {c.ref: name for c in _walk(document.components) if c.ref and (name := _name(c))}
    about = document.metadata.component if document.metadata else None
    if about is not None:
        # What the document is about is a package where its purl says so; else it is a product.
        found |= {c.ref: name for c in _walk([about]) if c.ref and (c is not about or c.purl) and (name := _name(c))}
    link = f"urn:cdx:{document.serial_number.removeprefix('urn:uuid:')}/{document.version}#"
    return found | {link + ref: name for ref, name in found.items() if document.serial_number}


def _walk(components: list[_Component]) -> Iterator[_Component]:
    for component in components:
        yield component
        yield from _walk(component.components)


def _name(component: _Component) -> str | None:
    if component.type not in _PACKAGES:
        return None
    return _plain(package_name(component.purl) if component.purl else component.name)


def _plain(name: str | None) -> str | None:
    """A waiver's package is a glob: what others call a package must not become one for many."""
    return None if not name or set("*?") & set(name) or name.startswith("!") else name


def _affected(entry: _Entry, packages: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Packages and unresolved references. One that leads out of the document is often a purl: that names a package."""
    names = {t.ref: packages.get(t.ref) or _plain(package_name(t.ref.rpartition("#")[2])) for t in entry.affects}
    return tuple(dict.fromkeys(n for n in names.values() if n)), tuple(ref for ref, name in names.items() if not name)


def _statement(place: str, entry: _Entry, packages: dict[str, str], ours: bool) -> VexStatement:
    analysis = entry.analysis or _Analysis()
    names, unresolved = _affected(entry, packages)
    said = VexStatement(
        place=place,
        vulnerability_id=entry.id,
        status=_STATUSES.get(analysis.state or ""),
        justification=_WORDS.get(analysis.justification or ""),
        reason=analysis.detail,
        packages=names,
        unresolved=unresolved,
    )
    return _with_own(said, entry) if ours else said


def _with_own(said: VexStatement, entry: _Entry) -> VexStatement:
    own = {p.name.removeprefix(NAMESPACE): p.value for p in entry.properties if p.name and p.name.startswith(NAMESPACE)}
    try:
        ours = msgspec.convert(own, _Ours)
    except msgspec.ValidationError as error:
        raise InputError(f"{said.place}.properties: {error}") from error
    if ours.repository is None:
        # Every entry of ours has one: this one was added by another party.
        return said
    ours.justification = ours.justification or said.justification
    fields = {**msgspec.structs.asdict(ours), "even_if_exploited": ours.even_if_exploited is not None or None}
    return msgspec.structs.replace(said, packages=(), unresolved=(), ours=True, **fields)


class _Ours(msgspec.Struct):
    repository: str | None = None
    package: str | None = None
    rule: str | None = None
    approved_by: str | None = None
    justification: VexJustification | None = None
    expires_at: datetime | None = None
    created_at: datetime | None = None
    even_if_exploited: Literal["true"] | None = None
