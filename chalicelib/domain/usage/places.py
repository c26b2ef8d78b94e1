"""Which clusters and services the sentences of `InUse.by` name, and whether an image runs in one. Pure.

The adapters that look at ECS and EKS write these sentences. What may only be started (a schedule, a family's newest
revision, a function) is of no cluster. A sentence that was cut short, or names no
workload, does not prove that the image runs in no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from chalicelib.domain.images.image import InUse, InUseState

_CLUSTER = re.compile(r" in cluster (\S+)")
_SERVICE = re.compile(r"\b(?:service|daemon) (\S+)")
_WORKLOADS = re.compile(r"\bEKS (.+?)(?: of namespace \S+)? in cluster ")
_REST = re.compile(r"(?:^and| and) \d+ more$")
_NAMELESS = ("something in a cluster", "EKS workload", "EKS a workload")


class RunningPlace(msgspec.Struct, frozen=True):
    """One sentence. `cluster` None: it is of none. `services` of ECS, daemons and workloads of Kubernetes among them.
    `whole`: nothing more is behind it."""

    cluster: str | None = None
    services: tuple[str, ...] = ()
    whole: bool = True


def places_of(use: InUse) -> Iterator[RunningPlace]:
    for sentence in use.by:
        cluster, workloads = _CLUSTER.search(sentence), _WORKLOADS.search(sentence)
        names = workloads[1] if workloads is not None else ""
        nameless = any(one in sentence for one in _NAMELESS)
        services = _SERVICE.findall(sentence) if workloads is None else [] if nameless else _named(names)
        cut = nameless or _REST.search(names) or _REST.search(sentence)
        yield RunningPlace(None if cluster is None else cluster[1], tuple(services), not cut)


def _named(workloads: str) -> list[str]:
    """`deployment web, job mail and 2 more`: each name without its type."""
    return [one.rpartition(" ")[2] for one in _REST.sub("", workloads).split(", ")]


def runs_in(use: InUse, cluster: str | None, service: str | None) -> bool | None:
    """Whether a service of that name runs it in a cluster of that name (None: whichever). None: it may."""
    if use.state is InUseState.NO:
        return False
    found = list(places_of(use))
    if any(_fits(place, cluster, service) for place in found):
        return True
    may = use.state is InUseState.UNKNOWN or not found or not all(place.whole for place in found)
    return None if may else False


def _fits(place: RunningPlace, cluster: str | None, service: str | None) -> bool:
    return cluster in (None, place.cluster) and (service is None or service in place.services)
