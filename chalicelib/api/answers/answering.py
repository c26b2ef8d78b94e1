"""Domain values as answers: one function a shape; and the images whose findings an index is answered with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.api.answers import answers as a
from chalicelib.api.answers import image_answers as i
from chalicelib.domain.audit.action import action_id
from chalicelib.domain.headers.header import Header, weakest
from chalicelib.domain.images.finding import Finding, Package
from chalicelib.domain.images.image import Child, ImageRef, InUse, Kind
from chalicelib.domain.reconcile.scan_proof import ScanProof
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.exports.package_url import package_url
from chalicelib.services.ports.table import ActionRow, ImageRow

ACTIONS_SHOWN = 100
MOST_BYTES = 4_500_000
"""Lambda hands on 6 MB, in which every quotation mark of the answer counts twice."""
Reasons = tuple[i.ReasonAnswer, ...]
A = TypeVar("A", bound=msgspec.Struct)


def copied(kind: type[A], source: object, **given: Any) -> A:
    """A `kind` with what is `given`, and its other fields from those of the same name in `source`; so for what lies
    within them."""
    same = {name: getattr(source, name) for name in kind.__struct_fields__ if name not in given}
    return msgspec.convert({**same, **given}, kind, from_attributes=True)


def images_behind(reads: FindingsQueries, image: Header) -> list[Header]:
    """The image itself, or the images of an index; one that is not known yet as a PENDING one. What turned out to be
    no image is not among them."""
    if image.kind is not Kind.INDEX:
        return [image]
    children = [image.ref.home.image(child.digest) for child in image.children]
    known = reads.headers(children)
    found = [known.get(ref) or Header(ref=ref) for ref in children]
    return [header for header in found if header.kind is not Kind.ARTIFACT]


def name_of(ref: ImageRef, tags: Sequence[str]) -> i.ImageNameAnswer:
    return i.ImageNameAnswer(ref.registry, ref.region, ref.repository, ref.digest, str(ref), tuple(tags))


def answer_finding(header: Header, finding: Finding) -> a.FindingAnswer:
    packages = tuple(answer_package(p, header.platform) for p in finding.packages)
    return copied(a.FindingAnswer, finding, image=name_of(header.ref, header.tags), packages=packages)


def answer_package(package: Package, platform: str | None) -> a.PackageAnswer:
    return copied(a.PackageAnswer, package, purl=package_url(package, platform))


def answer_row(row: ImageRow) -> i.ImageRowAnswer:
    return copied(i.ImageRowAnswer, row, image=name_of(row.ref, row.tags), counts=_answer_counts(row.counts))


def answer_scan(header: Header) -> i.ScanAnswer:
    scan = header.scan
    return i.ScanAnswer(scan.state, scan.reason, scan.source, scan.scanned_at, header.refreshed_at)


def answer_verdict(header: Header, scanned: Header | None = None) -> i.VerdictAnswer:
    """`scanned` stands in for an index, which is not scanned itself."""
    verdict = header.verdict
    return i.VerdictAnswer(
        image=name_of(header.ref, header.tags),
        decision=header.decision,
        reasons=msgspec.convert(header.reasons, Reasons, from_attributes=True),
        policy_version=None if verdict is None else verdict.policy_version,
        decided_at=None if verdict is None else verdict.decided_at,
        number=None if verdict is None else verdict.number,
        suppressed=header.suppressed,
        scan=answer_scan(scanned or header),
    )


def answer_running(use: InUse) -> i.RunningAnswer:
    return i.RunningAnswer(use.state, use.count, use.last_at, use.seen_at, use.by, use.blind)


def answer_image(
    header: Header,
    behind: Sequence[Header],
    actions: Sequence[ActionRow],
    proof: i.ScanProofAnswer | None = None,
    etag: str | None = None,
) -> i.ImageAnswer:
    """`behind`: the images of an index, else the image itself. `etag`: of the header as it is stored."""
    scanned = weakest(behind) or header
    known = {h.ref.digest: h for h in behind if h.exists}
    return copied(
        i.ImageAnswer,
        header,
        image=name_of(header.ref, header.tags),
        children=tuple(_answer_child(c, known.get(c.digest)) for c in header.children),
        scan=answer_scan(scanned),
        counts=_answer_counts(header.known_counts),
        verdict=answer_verdict(header, scanned),
        aside=header.queued,
        running=answer_running(header.in_use),
        last_pulled_at=header.pulled_at,
        actions=tuple(
            copied(i.ActionAnswer, row.record, action_id=action_id(row.record), number=row.number)
            for row in reversed(actions[-ACTIONS_SHOWN:])
        ),
        scan_proof=proof,
        twins=tuple(str(ImageRef.from_path(twin)) for twin in header.twins),
        etag=etag or header.etag,
    )


def answer_proof(proof: ScanProof | None, rule: ScanRule | None) -> i.ScanProofAnswer | None:
    if proof is None:
        return None
    return i.ScanProofAnswer(proof.proven, proof.cause, proof.detail, rule.words if rule is not None else None)


def answer_affected(header: Header, found: Sequence[Finding]) -> a.AffectedAnswer:
    """`found`: the image's findings of one vulnerability, worst first."""
    packages = dict.fromkeys(p for f in found for p in f.packages)
    return copied(
        a.AffectedAnswer,
        found[0],
        image=name_of(header.ref, header.tags),
        decision=header.decision,
        running=answer_running(header.in_use),
        packages=tuple(answer_package(p, header.platform) for p in packages),
    )


def _answer_counts(counts: Sequence[int] | None) -> i.Counts | None:
    return None if counts is None else i.Counts(*counts)


def _answer_child(child: Child, header: Header | None) -> i.ChildAnswer:
    if header is None or header.kind is Kind.ARTIFACT:
        return i.ChildAnswer(child.digest, child.platform, header is not None, None, None)
    return i.ChildAnswer(child.digest, child.platform, False, header.decision, header.scan.state)
