"""One pull that failed: of which image, what was said of it, for which service; and which pulls of a task failed. Pure.

`pull_failure.py` reads the cause from the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from chalicelib.domain.events.event import TaskChanged, TaskContainer
from chalicelib.domain.events.pull_failure import MAX_SAID, PullFailureCause, classify, named_image, written_digest
from chalicelib.domain.images.names import ImageName, image_name

_CANNOT_PULL = "CannotPull"


class FailedPull(msgspec.Struct, frozen=True):
    """One image that could not be pulled, and `said`, the text that tells of it (at most 4,000 characters).

    Of an ECS task also `task_arn`, `cluster_arn` and `group`, its service or family; None where they are not known.
    """

    pulled: ImageName
    said: str
    at: datetime
    task_arn: str | None = None
    cluster_arn: str | None = None
    group: str | None = None

    @property
    def cause(self) -> PullFailureCause:
        """As far as the text says."""
        return classify(self.said, self.pulled.digest)

    @property
    def hour(self) -> datetime:
        return self.at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

    @property
    def service(self) -> str:
        """Unlike that of any other service: Region, account, cluster and group."""
        cluster = (self.cluster_arn or "").split(":", 3)[-1].replace(":cluster/", "/")
        return f"{cluster}/{self.group or ''}"

    @property
    def where(self) -> str:
        """For people; "" where nothing is known."""
        kind, _, name = (self.group or "").partition(":")
        cluster = (self.cluster_arn or "").rpartition("/")[2]
        parts = (f"{kind} {name}".strip(), f"cluster {cluster}" if cluster else "")
        return " in ".join(part for part in parts if part)


def failed_pulls(event: TaskChanged) -> tuple[FailedPull, ...]:
    """The images of ECR that the task could not pull, each once. Those of other containers were not the reason."""
    if not event.pull_failed:
        return ()
    found: dict[ImageName, FailedPull] = {}
    for container, said in _failed(event):
        pulled = image_name(container.image)
        pulled = pulled.pinned(container.digest or written_digest(said, pulled.home)) if pulled else None
        if pulled is None or classify(said, pulled.digest) is PullFailureCause.NO_SECRET:
            continue
        failure = FailedPull(pulled, said[:MAX_SAID], event.time, event.task_arn, event.cluster_arn, _group(event))
        found.setdefault(pulled, failure)
    return tuple(found.values())


def _failed(event: TaskChanged) -> Iterator[tuple[TaskContainer, str]]:
    """Containers that say so themselves; else the one that the task's reason names; else all that have no digest yet:
    ECS fills it in after the pull."""
    own = [(c, c.reason) for c in event.containers if c.reason and _CANNOT_PULL in c.reason]
    if own:
        yield from own
        return
    said = event.stopped_reason or ""
    named = named_image(said)
    meant = [c for c in event.containers if named is not None and _means(c, named)]
    for container in meant or [c for c in event.containers if c.digest is None]:
        yield container, said


def _means(container: TaskContainer, named: ImageName) -> bool:
    pulled = image_name(container.image)
    if pulled is None or pulled.home != named.home or named.tag not in (None, pulled.tag):
        return False
    return None in (named.digest, pulled.digest) or named.digest == pulled.digest


def _group(event: TaskChanged) -> str:
    """`service:NAME` or `family:NAME`; a task without a group is told by its definition's family."""
    if event.group:
        return event.group
    family = event.task_definition_arn.rpartition("/")[2].partition(":")[0]
    return f"family:{family}"
