"""Images and findings as tests want them: named by a number, everything else ordinary."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Ecosystem, Finding, FixAvailable, Package, Severity
from chalicelib.domain.images.image import ImageRef, Repository, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.replication.replica import Replica, ReplicaStatus, counted
from chalicelib.domain.replication.rules import Destination
from tests.fakes.queries import NOW, FakeContext

ACCOUNT, REGION = "111122223333", "eu-west-1"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def ref(number: int, repository: str = "team/api", registry: str = ACCOUNT, region: str = REGION) -> ImageRef:
    return ImageRef(registry, region, repository, digest(number))


def home(repository: str = "team/api", registry: str = ACCOUNT, region: str = REGION) -> Repository:
    return Repository(registry, region, repository)


def finding(number: int, severity: Severity = Severity.HIGH, **changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "vulnerability_id": f"CVE-2026-{number:04d}",
        "severity": severity,
        "severity_raw": severity.value,
        "source": Source.ENHANCED,
        "source_finding_id": f"arn:aws:inspector2:{REGION}:{ACCOUNT}:finding/{number:032x}",
        "score": 7.5,
        "epss": 0.1,
        "fix_available": FixAvailable.YES,
        "ecosystem": Ecosystem.OS,
        "packages": (Package("openssl", "3.0.1", "OS", arch="X86_64", fixed_version="3.0.2"),),
        "first_seen": NOW - timedelta(days=number),
        "updated_at": NOW,
    }
    return Finding(**{**fields, **changes})


def image(number: int, decision: Decision = Decision.BLOCK, where: ImageRef | None = None, **changes: Any) -> Header:
    verdict = Verdict(decision, (Reason("critical", decision, "a reason", 1, 1, 0, ("CVE-2026-0001",)),), 3, NOW)
    fields: dict[str, Any] = {
        "ref": where or ref(number),
        "version": 1,
        "exists": True,
        "tags": (f"v{number}",),
        "pushed_at": NOW - timedelta(days=1),
        "platform": "DEBIAN_12",
        "scan": Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW),
        "refreshed_at": NOW,
        "verdict": verdict,
        "policy_version": 3,
    }
    return Header(**{**fields, **changes})


def fill(context: FakeContext) -> None:
    """A few images with findings in two repositories of one name, one private and one public."""
    for number in range(1, 4):
        findings = [finding(n, list(Severity)[n % 6]) for n in range(1, 4 + number)]
        context.queries.add(image(number, list(Decision)[number]), findings)
    public = ref(9, registry="public/acme", region="us-east-1")
    context.queries.add(image(9, Decision.ALLOW, public), [finding(1, Severity.LOW, kev=True, score=None, epss=None)])
    abroad = Destination("444455556666", "us-east-1")
    missing = Replica(ref=ref(1), destination=abroad, status=ReplicaStatus.MISSING, since=NOW, at=NOW)
    context.replicas.add(missing)
    said = {abroad.path: {**counted([missing]), "alarms": 1, "settings": ["no lifecycle policy there"]}}
    context.queries.homes[home()] = {"replication": said, "replication_at": NOW}
    context.queries.record_action(
        ActionRecord(ref(3), "ALERT#1", NOW, "ALERT", "system", "worse", NOW - timedelta(hours=1))
    )
    changed = ActionRecord(None, "POLICY#2", NOW, "POLICY", "person:oncall", "stricter", NOW, subject="policy")
    context.queries.record_action(changed)
