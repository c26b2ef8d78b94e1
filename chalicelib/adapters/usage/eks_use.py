"""Amazon EKS: which clusters there are, and what Amazon Inspector says runs an image in them.

Calls: ListClusters; only where there is a cluster: ListCoverage by ten, and GetClustersForImage for each digest, kept
for a minute, because an index and each of its images ask for the same ones. What a cluster runs Kubernetes alone knows.
Inspector looks into clusters for the images that it scans itself: an image that it does not cover (basic scanning, a
lapsed scan) has an empty answer that means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalicelib.adapters.aws.calls import code_of
from chalicelib.adapters.inspector.inspector import Inspector
from chalicelib.adapters.usage.asking import Asker, CachedPlace, PlaceAnswer, Use, why
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.names import ImageName
from chalicelib.errors import LazarettoError
from chalicelib.parsers.usage import use_answers as use
from chalicelib.services.ports.registry import Subject

PAGE = 100
NAMED = 3
DIGESTS_KEPT = 2_000
STOPPED_WITHIN = timedelta(hours=24)
NOT_COVERED = "Inspector does not scan this image, and knows what runs of scanned images only"
_SAYS = "as Inspector says"


class EksClusters(PlaceAnswer):
    """`names` of a Region's clusters: what they run is asked image by image."""

    names: list[str] = []


class EksUse:
    def __init__(self, inspector: Inspector, now: Callable[[], datetime]) -> None:
        self._inspector, self._now = inspector, now
        self._kept = CachedPlace(now, DIGESTS_KEPT)

    def clusters(self, client: Any, asker: Asker) -> EksClusters:
        looked = EksClusters()
        with looked.at("EKS"):
            for page in asker.pages(client, "list_clusters", "clusters", str, maxResults=PAGE):
                looked.names += page
        return looked

    def ask(self, client: Any, asker: Asker, subject: Subject, clusters: Sequence[str]) -> PlaceAnswer:
        """`client` of Inspector in the image's Region. Whatever it cannot say makes each of the clusters blind. What is
        only attached to an image that is gone is nothing that a cluster runs."""
        looked = PlaceAnswer()
        if not subject.digests:
            return looked
        home = subject.ref.home
        scanned = [home.image(d) for d in sorted(subject.digests - subject.indexes)]
        try:
            covered = self._covered(scanned, looked)
        except LazarettoError as error:
            looked.fail(_blind(clusters, why(error)))
            return looked

        def one(digest: str) -> PlaceAnswer:
            ref, index = home.image(digest), digest in subject.indexes
            return self._kept.get(ref, lambda: self._workloads(client, asker, ref, clusters, index=index), asker.since)

        parts = asker.each(one, sorted(subject.digests))
        looked.join(parts)
        looked.seen_at = min((part.seen_at for part in parts if part.seen_at is not None), default=None)
        if not covered:
            looked.blind.append(_blind(clusters, NOT_COVERED))
        return looked

    def _covered(self, refs: Sequence[ImageRef], looked: PlaceAnswer) -> bool:
        """Whether Inspector scans every one, and there is one: an index whose images are not known is not scanned.
        Its own count may know of a workload that it does not name."""
        coverage = self._inspector.coverage(refs)
        for ref, one in coverage.items():
            if one.in_use_count:
                looked.add(Use(_pinned(ref), "something in a cluster", one.in_use_count, _SAYS))
        return bool(refs) and all(ref in coverage and coverage[ref].active for ref in refs)

    def _workloads(
        self, client: Any, asker: Asker, ref: ImageRef, clusters: Sequence[str], *, index: bool
    ) -> PlaceAnswer:
        """Inspector scans no index, and may refuse to be asked about one."""
        looked, now = PlaceAnswer(), self._now()
        pages = asker.pages(
            client, "get_clusters_for_image", "cluster", use.ClusterUse, filter={"resourceId": ref.arn}, maxResults=PAGE
        )
        try:
            for cluster in (one for page in pages for one in page):
                for detail in cluster.cluster_details or [use.ClusterDetail()]:
                    if _counts(detail, now):
                        looked.add(_use(ref, cluster.cluster_arn, detail))
        except LazarettoError as error:
            if not index or code_of(error) != "ValidationException":
                looked.fail(_blind(clusters, why(error)))
        return looked


def _counts(detail: use.ClusterDetail, now: datetime) -> bool:
    """Also what has run within the last day: a job that will run again pulls again."""
    if detail.running_unit_count is None or detail.running_unit_count or detail.stopped_unit_count:
        return True
    return detail.last_in_use is None or now - detail.last_in_use < STOPPED_WITHIN


def _use(ref: ImageRef, cluster_arn: str, detail: use.ClusterDetail) -> Use:
    """ECS is looked at directly as well: its tasks are not counted twice."""
    account, cluster = cluster_arn.split(":")[4:5], cluster_arn.rpartition("/")[2]
    where = f"{cluster} of account {account[0]}" if account and account[0] != ref.registry else cluster
    ecs, eks = detail.cluster_metadata.aws_ecs_metadata_details, detail.cluster_metadata.aws_eks_metadata_details
    if ecs is not None:
        kind, _, name = (ecs.details_group or "").partition(":")
        who = f"ECS service {name}" if kind == "service" else f"ECS task {name or kind}"
        return Use(_pinned(ref), f"{who} in cluster {where}", None, _SAYS)
    who = _workloads(eks) if eks is not None else "a workload"
    running = detail.running_unit_count
    return Use(_pinned(ref), f"EKS {who} in cluster {where}", running, "" if running else "ran within the last day")


def _workloads(eks: use.EksUseAnswer) -> str:
    names = [f"{one.type.lower()} {one.name}" for one in eks.workload_info_list]
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    named = ", ".join(names[:NAMED]) + rest if names else "workload"
    return f"{named} of namespace {eks.namespace}" if eks.namespace else named


def _pinned(ref: ImageRef) -> ImageName:
    return ImageName(ref.home, None, ref.digest)


def _blind(clusters: Sequence[str], reason: str) -> str:
    return f"{named_clusters(clusters)} cannot be asked: {reason}"


def named_clusters(clusters: Sequence[str]) -> str:
    names = ", ".join(clusters[:NAMED])
    rest = f" and {len(clusters) - NAMED} more" if len(clusters) > NAMED else ""
    return f"EKS cluster{'s' if len(clusters) > 1 else ''} {names}{rest}"
