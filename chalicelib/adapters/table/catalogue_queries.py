"""Reads of the catalogue of vulnerabilities: texts for the findings of an image, and all that is known of one id.

How an entry is stored is told by `catalogue`. Nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import KEV_FACT, PK, SK, key, vulnerability_pk
from chalicelib.adapters.table.catalogue import Entry, Texts, read_entry, read_kev_item, source_of
from chalicelib.domain.images.finding import Finding


class VulnerabilityFacts(msgspec.Struct, frozen=True):
    """What one database says of a vulnerability. `kev` None: nobody answered, or nobody asked (`kev_at` None)."""

    vulnerability_id: str
    source: str
    title: str | None
    description: str | None
    url: str | None
    references: tuple[str, ...]
    cvss_vector: str | None
    related_ids: tuple[str, ...]
    epss: float | None
    epss_at: datetime | None
    kev: bool | None
    kev_at: datetime | None


class CatalogueQueries:
    """Every method may raise TransientError and DeniedError."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def with_texts(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The same findings with the catalogue's texts."""
        wanted = tuple(findings)
        places = {(vulnerability_pk(f.vulnerability_id), source_of(f)): f.vulnerability_id for f in wanted}
        items = self._dynamo.get_many((key(*place) for place in places), consistent=False)
        entries = {
            place: read_entry(places[place], item) for item in items if (place := (item[PK]["S"], item[SK]["S"]))
        }
        return tuple(_dressed(f, entries.get((vulnerability_pk(f.vulnerability_id), source_of(f)))) for f in wanted)

    def vulnerability(self, vulnerability_id: str) -> tuple[VulnerabilityFacts, ...]:
        """One for each database that named it; empty where none did."""
        found = list(self._dynamo.query(f"{PK} = :pk", {":pk": {"S": vulnerability_pk(vulnerability_id)}}))
        kev = next((read_kev_item(item) for item in found if item[SK]["S"] == KEV_FACT), (None, None))
        entries = [read_entry(vulnerability_id, item) for item in found if item[SK]["S"] != KEV_FACT]
        return tuple(_facts(entry, *kev) for entry in entries)


def _dressed(finding: Finding, entry: Entry | None) -> Finding:
    """With the catalogue's texts. Inspector titles findings by id and packages; that is made, not stored."""
    if entry is None:
        return finding
    texts: Texts = entry.texts
    title = texts.title
    if title is None and finding.packages:
        title = f"{finding.vulnerability_id} - {', '.join(p.name for p in finding.packages)}"
    return msgspec.structs.replace(
        finding,
        title=title,
        description=texts.description,
        url=texts.url,
        references=texts.references,
        cvss_vector=texts.cvss_vector,
    )


def _facts(entry: Entry, kev: bool | None, kev_at: datetime | None) -> VulnerabilityFacts:
    texts = entry.texts
    return VulnerabilityFacts(
        entry.vulnerability_id,
        entry.source,
        texts.title,
        texts.description,
        texts.url,
        texts.references,
        texts.cvss_vector,
        texts.related_ids,
        entry.epss,
        entry.epss_at,
        kev,
        kev_at,
    )
