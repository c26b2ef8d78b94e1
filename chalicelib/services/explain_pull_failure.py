"""Explain a container that could not be pulled: was it our quarantine, or something else? Recorded with it."""

from __future__ import annotations

from chalicelib.domain.event import Container, TaskChanged
from chalicelib.domain.header import EffectKind, Header
from chalicelib.domain.image import REPOSITORY, ImageRef, Repository, StorageStatus
from chalicelib.services.ports import ActionRecord, House

_REGISTRY_HOST = ".dkr.ecr."


def explain_pull_failure(event: TaskChanged, house: House) -> None:
    """Records why each ECR image of a task that failed to start could not be pulled. Other tasks are none of ours."""
    if not event.pull_failed:
        return
    for container in event.containers:
        ref = _image(container, house)
        if ref is None:
            continue
        stored = house.table.read_headers([ref]).get(ref)
        house.table.record_action(
            ActionRecord(
                ref=ref,
                effect=f"PULL_FAILED#{event.task_arn}#{container.name}",
                wanted_at=event.time,
                kind="PULL_FAILED",
                actor="system",
                reason=_reason(stored.header if stored else None, container, event),
                at=house.clock.now(),
                before=stored.header.storage if stored else None,
            )
        )


def _reason(header: Header | None, container: Container, event: TaskChanged) -> str:
    said = container.reason or event.stopped_reason or "no reason given"
    if header is None:
        return f"image unknown here; ECS says: {said}"
    if header.enforcement is not None and header.enforcement.kind is EffectKind.QUARANTINE:
        return f"quarantined by verdict {header.verdict.number if header.verdict else 0}: deploy another image"
    if header.storage is not StorageStatus.ACTIVE:
        return f"the image is {header.storage} in ECR, not by us"
    if not header.exists:
        return "the image has been deleted"
    return f"not by us: {said}"


def _image(container: Container, house: House) -> ImageRef | None:
    """The container's image by digest: its own field, its name, or its tag looked up. None: not in ECR, or unknown."""
    host, _, rest = (container.image or "").partition("/")
    account, found, region = host.partition(_REGISTRY_HOST)
    name, at, digest = rest.partition("@")
    name, _, tag = name.partition(":")
    if not found or not REPOSITORY.fullmatch(name):
        return None
    home = Repository(account, region.partition(".")[0], name)
    digest = container.digest or (digest if at else None) or house.table.read_tag(home, tag or "latest") or ""
    return home.image(digest) if digest else None
