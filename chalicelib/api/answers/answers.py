"""What the API answers about everything but images, as types. No logic.

Absent is null, never 0 and never "no". All times are UTC, ISO 8601 with `Z`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from chalicelib.api.answers.image_answers import ImageNameAnswer, Moment, RunningAnswer, ScanAnswer
from chalicelib.domain.images.finding import Ecosystem, FindingStatus, FixAvailable, Severity
from chalicelib.domain.images.image import Source
from chalicelib.domain.images.verdict import Decision


class PackageAnswer(msgspec.Struct, frozen=True):
    name: str
    version: str | None
    manager: str | None
    path: str | None
    arch: str | None
    fixed_version: str | None
    layer: str | None
    purl: str | None


class FindingAnswer(msgspec.Struct, frozen=True):
    """One vulnerability in one image, with every package its source lists."""

    image: ImageNameAnswer
    vulnerability_id: str
    related_ids: tuple[str, ...]
    title: str | None
    severity: Severity
    severity_raw: str
    source: Source
    status: FindingStatus
    score: float | None
    cvss_vector: str | None
    epss: float | None
    kev: bool | None
    exploit_available: bool | None
    fix_available: FixAvailable | None
    packages: tuple[PackageAnswer, ...]
    ecosystem: Ecosystem | None
    first_seen: Moment | None
    first_seen_in_line: Moment | None
    last_seen: Moment | None
    updated_at: Moment | None
    resolved_at: Moment | None
    resolved_reason: str | None
    vulnerability_source: str | None
    url: str | None
    source_finding_id: str


class FindingList(msgspec.Struct, frozen=True):
    """`scan` of the one image that was asked for, else null: an empty list is clean only where it is COMPLETE.
    `complete` false: a registry that is asked about has not been swept once, and images may be missing. `unscanned`:
    how many images that this may be about lack a complete scan; null after the first page."""

    findings: tuple[FindingAnswer, ...]
    scan: ScanAnswer | None
    complete: bool
    unscanned: int | None
    next_cursor: str | None


class AffectedAnswer(msgspec.Struct, frozen=True):
    """An image that has the vulnerability, with the findings that say so."""

    image: ImageNameAnswer
    decision: Decision
    running: RunningAnswer
    severity: Severity
    status: FindingStatus
    fix_available: FixAvailable | None
    packages: tuple[PackageAnswer, ...]


class BlastRadiusAnswer(msgspec.Struct, frozen=True):
    """What this page of affected images adds up to; with `next_cursor` there are more."""

    images: int
    repositories: int
    running: int
    maybe_running: int
    closed: int


class DatabaseAnswer(msgspec.Struct, frozen=True):
    """What one database says of a vulnerability."""

    source: str
    title: str | None
    description: str | None
    url: str | None
    references: tuple[str, ...]
    cvss_vector: str | None
    epss: float | None
    epss_at: Moment | None


class VulnerabilityAnswer(msgspec.Struct, frozen=True):
    """`databases`: empty where none named it. `kev` null: no answer, or (`kev_at` null) not asked. `complete`,
    `unscanned`: as of a list of findings."""

    id: str
    related_ids: tuple[str, ...]
    kev: bool | None
    kev_at: Moment | None
    databases: tuple[DatabaseAnswer, ...]
    blast_radius: BlastRadiusAnswer
    affected: tuple[AffectedAnswer, ...]
    complete: bool
    unscanned: int | None
    next_cursor: str | None


class RepositoryAnswer(msgspec.Struct, frozen=True):
    """`facts`: its settings and what is known of it, as far as heard."""

    registry: str
    region: str
    repository: str
    facts: dict[str, Any]


class RepositoryList(msgspec.Struct, frozen=True):
    """`complete`, `unscanned`: as of a list of findings."""

    repositories: tuple[RepositoryAnswer, ...]
    complete: bool
    unscanned: int | None
    next_cursor: str | None


class PolicyAnswer(msgspec.Struct, frozen=True):
    """`version` 0 is the built-in default. `policy` as a file would say it, defaults included."""

    version: int
    waivers_version: int
    put_at: Moment | None
    put_by: str | None
    policy: dict[str, Any]


class Health(msgspec.Struct, frozen=True):
    status: Literal["ok"]
    version: str
