"""The generated registry as EventBridge would announce it: findings, scans, coverage, pushes.

Shapes: EventBridge events of Amazon Inspector and Amazon ECR. Finding events hold one of the three forms of dates that
were seen, chosen by `Plan.dates`.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from bench import payloads

if TYPE_CHECKING:
    from bench.generate import FindingState, ImageState, Plan

_FORMS = ("iso", "long", "short")


def finding_event(plan: Plan, state: ImageState, row: FindingState, name: str) -> dict[str, Any]:
    form = plan.dates if plan.dates != "mixed" else random.Random(name).choice(_FORMS)
    detail = payloads.finding(plan, state, row, form)
    return _event("aws.inspector2", "Inspector2 Finding", row.updated_at, [state.arn], detail, name)


def scan_event(state: ImageState) -> dict[str, Any]:
    """The first scan of Amazon Inspector is complete."""
    detail = {
        "scan-status": "INITIAL_SCAN_COMPLETE",
        "repository-name": payloads.repository_arn(state.repository),
        "image-digest": state.digest,
        "image-tags": list(state.tags),
        "finding-severity-counts": {**_counts(state, "CRITICAL", "HIGH", "MEDIUM"), "TOTAL": len(state.findings)},
        "version": "1.0",
    }
    resources = [payloads.repository_arn(state.repository)]
    name = f"scan-{state.number}"
    return _event("aws.inspector2", "Inspector2 Scan", state.scanned_at, resources, detail, name)


def rescan_event(state: ImageState) -> dict[str, Any]:
    """The image was scanned again: its coverage says so with the time of the scan."""
    detail = {
        "scanStatus": {"statusCodeValue": "ACTIVE", "reason": "SUCCESSFUL"},
        "scanType": "PACKAGE",
        "provider": "AWS",
        "providerAccountId": payloads.ACCOUNT,
        "providerRegion": payloads.REGION,
        "eventTimestamp": payloads.date_text(state.scanned_at, "iso"),
        "version": "1.0",
    }
    name = f"rescan-{state.number}-{state.scanned_at}"
    return _event("aws.inspector2", "Inspector2 Coverage", state.scanned_at, [state.arn], detail, name)


def basic_scan_event(state: ImageState) -> dict[str, Any]:
    detail = {
        "scan-status": "COMPLETE",
        "repository-name": state.repository,
        "image-digest": state.digest,
        "image-tags": list(state.tags),
        "finding-severity-counts": payloads.basic_page(state)["imageScanFindings"]["findingSeverityCounts"],
    }
    resources = [payloads.repository_arn(state.repository)]
    name = f"basic-{state.number}-{state.scanned_at}"
    return _event("aws.ecr", "ECR Image Scan", state.scanned_at, resources, detail, name)


def push_event(state: ImageState) -> dict[str, Any]:
    detail = {
        "action-type": "PUSH",
        "result": "SUCCESS",
        "repository-name": state.repository,
        "image-digest": state.digest,
        "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
        "artifact-media-type": "application/vnd.oci.image.config.v1+json",
        **({"image-tag": state.tags[0]} if state.tags else {}),
    }
    return _event("aws.ecr", "ECR Image Action", state.pushed_at, [], detail, f"push-{state.number}")


def _counts(state: ImageState, *severities: str) -> dict[str, int]:
    found = Counter(f.severity for f in state.findings)
    return {severity: found[severity] for severity in severities if found[severity]}


def _event(source: str, kind: str, at: int, resources: list[str], detail: dict[str, Any], name: str) -> dict[str, Any]:
    return {
        "version": "0",
        "id": name,
        "detail-type": kind,
        "source": source,
        "account": payloads.ACCOUNT,
        "time": payloads.date_text(at, "iso"),
        "region": payloads.REGION,
        "resources": resources,
        "detail": detail,
    }
