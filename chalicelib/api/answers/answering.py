"""Domain values as answers: one function a shape; and the images whose findings an index is answered with."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.adapters.table.audit_log import ActionRow
from chalicelib.adapters.table.catalogue import VulnerabilityFacts
from chalicelib.adapters.table.findings_queries import FindingsQueries, TagRow
from chalicelib.adapters.table.headers import ImageRow
from chalicelib.api.answers import answers as a
from chalicelib.api.answers import image_answers as i
from chalicelib.domain.audit.action import action_id
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Deferred, Enforcement, Hold, Order, PendingAction
from chalicelib.domain.images.finding import Finding, Package
from chalicelib.domain.images.image import Child, ImageRef, Kind, Scan, ScanState
from chalicelib.domain.images.verdict import Reason
from chalicelib.domain.reconcile.scan_proof import ScanProof
from chalicelib.domain.reconcile.scan_rule import ScanRule
from chalicelib.exports.package_url import package_url


def images_behind(reads: FindingsQueries, image: Header) -> list[Header]:
    """The image itself, or the images of an index; one that is not known yet as a PENDING one."""
    if image.kind is not Kind.INDEX:
        return [image]
    children = [image.ref.home.image(c.digest) for c in image.children if not c.artifact]
    known = reads.headers(children)
    return [known.get(ref) or Header(ref=ref) for ref in children]


def weakest(headers: Sequence[Header]) -> Header | None:
    """One whose scan is not COMPLETE, else the one scanned longest ago."""
    ranked = sorted(headers, key=lambda h: (h.scan.state is ScanState.COMPLETE, _scanned_at(h.scan)))
    return ranked[0] if ranked else None


def _scanned_at(scan: Scan) -> float:
    return 0.0 if scan.scanned_at is None else scan.scanned_at.timestamp()


ACTIONS_SHOWN = 100


def name_of(ref: ImageRef, tags: Sequence[str]) -> i.ImageNameAnswer:
    return i.ImageNameAnswer(ref.registry, ref.region, ref.repository, ref.digest, str(ref), tuple(tags))


def answer_finding(header: Header, finding: Finding) -> a.FindingAnswer:
    return a.FindingAnswer(
        image=name_of(header.ref, header.tags),
        vulnerability_id=finding.vulnerability_id,
        related_ids=finding.related_ids,
        title=finding.title,
        severity=finding.severity,
        severity_raw=finding.severity_raw,
        source=finding.source,
        status=finding.status,
        score=finding.score,
        cvss_vector=finding.cvss_vector,
        epss=finding.epss,
        kev=finding.kev,
        exploit_available=finding.exploit_available,
        fix_available=finding.fix_available,
        packages=tuple(answer_package(p, header.platform) for p in finding.packages),
        ecosystem=finding.ecosystem,
        first_seen=finding.first_seen,
        first_seen_in_line=finding.first_seen_in_line,
        last_seen=finding.last_seen,
        updated_at=finding.updated_at,
        resolved_at=finding.resolved_at,
        resolved_reason=finding.resolved_reason,
        vulnerability_source=finding.vulnerability_source,
        url=finding.url,
        source_finding_id=finding.source_finding_id,
    )


def answer_package(package: Package, platform: str | None) -> a.PackageAnswer:
    return a.PackageAnswer(
        name=package.name,
        version=package.version,
        manager=package.manager,
        path=package.path,
        arch=package.arch,
        fixed_version=package.fixed_version,
        layer=package.layer,
        purl=package_url(package, platform),
    )


def answer_row(row: ImageRow) -> i.ImageRowAnswer:
    return i.ImageRowAnswer(
        image=name_of(row.ref, row.tags),
        decision=row.decision,
        worst=row.worst,
        counts=_answer_counts(row.counts),
        scan_state=row.scan_state,
        enforcement=_answer_enforcement(row.enforcement),
        policy_version=row.policy_version,
        pushed_at=row.pushed_at,
    )


def answer_scan(header: Header) -> i.ScanAnswer:
    scan = header.scan
    return i.ScanAnswer(scan.state, scan.reason, scan.source, scan.scanned_at, header.refreshed_at)


def answer_verdict(header: Header, scanned: Header | None = None) -> i.VerdictAnswer:
    """`scanned` stands in for an index, which is not scanned itself."""
    verdict = header.verdict
    return i.VerdictAnswer(
        image=name_of(header.ref, header.tags),
        decision=header.decision,
        reasons=() if verdict is None else tuple(_answer_reason(r) for r in verdict.reasons),
        policy_version=None if verdict is None else verdict.policy_version,
        decided_at=None if verdict is None else verdict.decided_at,
        number=None if verdict is None else verdict.number,
        suppressed=header.suppressed,
        scan=answer_scan(scanned or header),
    )


def answer_running(header: Header) -> i.RunningAnswer:
    use = header.in_use
    return i.RunningAnswer(use.state, use.count, use.last_at, use.seen_at, use.by, use.blind)


def answer_image(
    header: Header, behind: Sequence[Header], actions: Sequence[ActionRow], proof: i.ScanProofAnswer | None = None
) -> i.ImageAnswer:
    """`behind`: the images of an index, else the image itself."""
    scanned = weakest(behind) or header
    known = {h.ref.digest: h for h in behind if h.exists}
    return i.ImageAnswer(
        image=name_of(header.ref, header.tags),
        kind=header.kind,
        exists=header.exists,
        pushed_at=header.pushed_at,
        size_bytes=header.size_bytes,
        media_type=header.media_type,
        artifact_media_type=header.artifact_media_type,
        subject=header.subject,
        architecture=header.architecture,
        platform=header.platform,
        storage=header.storage,
        children=tuple(_answer_child(c, known.get(c.digest)) for c in header.children),
        parents=header.parents,
        scan=answer_scan(scanned),
        worst=header.worst,
        counts=_answer_counts(header.known_counts),
        verdict=answer_verdict(header, scanned),
        enforcement=_answer_enforcement(header.enforcement),
        hold=answer_hold(header.hold),
        denied=header.denied,
        act=answer_act(header.act),
        aside=tuple(_answer_open(act) for act in header.queued),
        order=answer_order(header.order),
        running=answer_running(header),
        last_pulled_at=header.pulled_at,
        actions=tuple(_answer_action(x) for x in reversed(actions[-ACTIONS_SHOWN:])),
        scan_proof=proof,
        twins=tuple(str(ImageRef.from_path(twin)) for twin in header.twins),
    )


def answer_proof(proof: ScanProof | None, rule: ScanRule | None) -> i.ScanProofAnswer | None:
    if proof is None:
        return None
    return i.ScanProofAnswer(proof.proven, proof.cause, proof.detail, rule.words if rule is not None else None)


def answer_act(act: PendingAction | None) -> i.ActAnswer | None:
    return None if act is None else _answer_open(act)


def _answer_open(act: PendingAction) -> i.ActAnswer:
    return i.ActAnswer(act.kind, act.method, act.number, act.wanted_at, _answer_held(act.held))


def answer_order(order: Order | None) -> i.OrderAnswer | None:
    return None if order is None else i.OrderAnswer(order.kind, order.by, order.reason, order.at)


def answer_hold(hold: Hold | None) -> i.HoldAnswer | None:
    return None if hold is None else i.HoldAnswer(hold.method, hold.at)


def _answer_held(held: Deferred | None) -> i.HeldAnswer | None:
    return None if held is None else i.HeldAnswer(held.why, held.detail, held.since, held.until)


def answer_tag(row: TagRow) -> i.TagAnswer:
    moves = tuple(i.TagMoveAnswer(m.digest, m.at) for m in reversed(row.moves))
    return i.TagAnswer(row.tag, row.digest, row.moved_at, moves)


def answer_database(facts: VulnerabilityFacts) -> a.DatabaseAnswer:
    return msgspec.convert(facts, a.DatabaseAnswer, from_attributes=True)


def answer_affected(header: Header, found: Sequence[Finding]) -> a.AffectedAnswer:
    """`found`: the image's findings of one vulnerability, worst first."""
    worst = found[0]
    packages = dict.fromkeys(p for f in found for p in f.packages)
    return a.AffectedAnswer(
        image=name_of(header.ref, header.tags),
        decision=header.decision,
        running=answer_running(header),
        severity=worst.severity,
        status=worst.status,
        fix_available=worst.fix_available,
        packages=tuple(answer_package(p, header.platform) for p in packages),
    )


def _answer_counts(counts: Sequence[int] | None) -> i.Counts | None:
    return None if counts is None else i.Counts(*counts)


def _answer_child(child: Child, header: Header | None) -> i.ChildAnswer:
    decision, state = (None, None) if header is None else (header.decision, header.scan.state)
    return i.ChildAnswer(child.digest, child.platform, child.artifact, decision, state)


def _answer_reason(reason: Reason) -> i.ReasonAnswer:
    return i.ReasonAnswer(
        reason.rule, reason.decision, reason.detail, reason.count, reason.vulnerability_ids, reason.waived
    )


def _answer_enforcement(done: Enforcement | None) -> i.EnforcementAnswer | None:
    return None if done is None else i.EnforcementAnswer(done.kind, done.stage, done.at, done.number, done.method)


def _answer_action(row: ActionRow) -> i.ActionAnswer:
    record = row.record
    return i.ActionAnswer(
        action_id=action_id(record),
        number=row.number,
        effect=record.effect,
        kind=record.kind,
        actor=record.actor,
        reason=record.reason,
        at=record.at,
        before=record.before,
        after=record.after,
        policy_version=record.policy_version,
        vulnerability_ids=record.vulnerability_ids,
        undo=record.undo,
    )
