"""What people are told when others change what Lazaretto relies on: who, when, from where. Pure.

Which image or Deny a call is about is looked up by `services/tampering/notify_tampering.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from fnmatch import fnmatchcase

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.audit.chain import TAMPERING
from chalicelib.domain.events.event import ApiCall
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Stage
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.text import sanitize

MAX_SHOWN = 500
MAX_STATEMENT = 1_000
SETTINGS = {
    "PutAccountSetting": "a setting of ECR for the whole account",
    "PutRegistryPolicy": "the policy of the registry",
    "DeleteRegistryPolicy": "the policy of the registry",
    "PutRegistryScanningConfiguration": "what the registry scans",
    "PutReplicationConfiguration": "where the registry is copied to",
    "StartReplicationBackfill": "which images are copied",
    "StopReplicationBackfill": "which images are copied",
    "PutSigningConfiguration": "which images ECR signs",
    "DeleteSigningConfiguration": "which images ECR signs",
    "CreatePullThroughCacheRule": "which registries images are pulled through from",
    "UpdatePullThroughCacheRule": "which registries images are pulled through from",
    "DeletePullThroughCacheRule": "which registries images are pulled through from",
    "CreateRepositoryCreationTemplate": "how repositories are made",
    "UpdateRepositoryCreationTemplate": "how repositories are made",
    "DeleteRepositoryCreationTemplate": "how repositories are made",
    "RegisterPullTimeUpdateExclusion": "whose pulls are not recorded",
    "DeregisterPullTimeUpdateExclusion": "whose pulls are not recorded",
    "SetRepositoryPolicy": "who may use the repository",
    "DeleteRepositoryPolicy": "who may use the repository",
    "PutImageTagMutability": "whether tags may move",
    "PutImageScanningConfiguration": "whether pushed images are scanned",
    "PutLifecyclePolicy": "which images ECR itself deletes",
    "DeleteLifecyclePolicy": "which images ECR itself deletes",
    "DeleteRepository": "that the repository exists",
}
"""What a call changes that Lazaretto relies on. A test compares: every operation of ECR that changes something is here,
is about images (`IMAGE_CALLS`), or is excused by name."""
PARAMETERS = frozenset(
    {
        *("appliedFor", "credentialArn", "customRoleArn", "description", "destination", "ecrRepositoryPrefix"),
        *("encryptionConfiguration", "force", "imageScanningConfiguration", "imageTagMutability"),
        *("imageTagMutabilityExclusionFilters", "lifecyclePolicy", "lifecyclePolicyText", "name", "policyText"),
        *("prefix", "principalArn", "replicationBackfillId", "replicationConfiguration", "repositoryName"),
        *("repositoryPolicy", "resourceTags", "rules", "scanType", "signingConfiguration", "upstreamRegistry"),
        *("upstreamRegistryUrl", "upstreamRepositoryPrefix", "value"),
    }
)
"""Of these calls. Anything else that stands in an event is not told: it may be a secret."""
IMAGE_CALLS = frozenset({"BatchDeleteImage", "CreateRepository", "PutImage", "UpdateImageStorageClass"})
"""Heard, and told only where they touch what is quarantined."""


_EMPTY_LAYERS = frozenset(
    {
        "sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1",
        "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4",
    }
)
"""Archives without a file, which build tools add."""


def layers_mark(digests: Iterable[str]) -> str | None:
    """By it the layers of an image are known again in another image: order, repeated layers and empty ones do not
    count, which a pusher may change as well as the config. None: no layer holds anything."""
    known = sorted({*digests} - _EMPTY_LAYERS)
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:32] if known else None


def is_own(call: ApiCall, own_roles: Sequence[str]) -> bool:
    """By the role whose session it was, as CloudTrail has it. A name of a session may be anyone's choice."""
    return call.role is not None and any(fnmatchcase(call.role, pattern) for pattern in own_roles)


def is_evidence(header: Header) -> bool:
    """Whether Lazaretto quarantined it, and has not released it since: also one that is gone by now."""
    last = header.enforcement
    taken = last is not None and last.kind is ActionType.QUARANTINE and last.stage is Stage.DONE
    return header.hold is not None or taken


def compose_call_alert(call: ApiCall, title: str, notes: Sequence[str], what_to_do: Sequence[str] = ()) -> Alert:
    """`title`: what was touched. It says in any case who called, when, and from where."""
    place = f" on {call.repository.uri}" if call.repository else ""
    who = sanitize(call.actor or "a principal that CloudTrail does not name", 300)
    where = sanitize(call.source_ip or "an address that CloudTrail does not name", 100)
    at = f"{call.time:%Y-%m-%d %H:%M:%S} UTC"
    return Alert(
        event=TAMPERING,
        title=f"{title} ({call.name})",
        at=call.time,
        repository=call.repository.name if call.repository else None,
        notes=(f"{who} called {call.name}{place} at {at} from {where}, in {call.account}/{call.region}.", *notes),
        what_to_do=(*what_to_do, "If it was not meant, take the right from this principal, and see what else it did."),
    )


def setting_words(call: ApiCall) -> tuple[str, tuple[str, ...]] | None:
    """Title and notes of a changed setting; None: the call changes none."""
    if (changed := SETTINGS.get(call.name)) is None:
        return None
    public = " in ECR Public" if call.public else ""
    said = ((name, value) for name, value in call.changed.items() if name in PARAMETERS)
    values = (f"{name}: {sanitize(value, MAX_SHOWN)}" for name, value in said)
    return f"Setting changed{public}: {changed}", tuple(values)


def evidence_words(refs: Sequence[ImageRef], what: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Title, notes, what to do. `what`: what happened to it, `restored` for one."""
    which = "A quarantined image was" if len(refs) == 1 else f"{len(refs)} quarantined images were"
    named = tuple(f"Quarantined by Lazaretto: {ref}" for ref in refs[:10])
    return f"{which} {what}", named, (f"See the proof: lazaretto image {refs[0]}",)


def compose_deny_alert(repository: Repository, found: str, what: str, now: datetime) -> Alert:
    """`found`: what is wrong with the Deny; `what`: what Lazaretto did about it, or why it did nothing."""
    return Alert(
        event=TAMPERING,
        title=f"Denied pulls: {sanitize(repository.name, 100)} is not as Lazaretto left it",
        at=now,
        repository=repository.name,
        notes=(
            f"In the policy of {repository.uri} {sanitize(found, MAX_SHOWN)}.",
            f"What was done: {sanitize(what, MAX_SHOWN)}.",
        ),
        what_to_do=(
            "Find who changed it: SetRepositoryPolicy and DeleteRepositoryPolicy of this repository in CloudTrail.",
            "Where it is to be gone, release its images: lazaretto release IMAGE --reason WHY.",
        ),
    )


def overwritten_words(
    statements: Sequence[str], repository: Repository
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Title, notes, what to do. ECR puts a policy without any condition: what was put between our reading and our
    writing is lost."""
    return (
        "Lazaretto may have overwritten a statement of others",
        (
            "Lazaretto changed the same policy at the same time, and had not read this:",
            *(sanitize(one, MAX_STATEMENT) for one in statements),
        ),
        (f"Put it again where it is missing: aws ecr get-repository-policy --repository-name {repository.name}",),
    )


def same_layers_words(pushed: ImageRef, held: ImageRef) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Title, notes, what to do."""
    return (
        "The layers of a quarantined image were pushed again",
        (f"Pushed: {pushed}", f"Quarantined, with the same layers: {held}"),
        (f"Quarantine it as well: lazaretto quarantine {pushed} --reason 'the layers of {held.digest[:19]}'",),
    )
