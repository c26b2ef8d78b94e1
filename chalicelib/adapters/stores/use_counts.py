"""Inspector's count of what uses an image, beside the clusters it names: what does it count?

Calls: one ListCoverage for images that are used more than once, GetClustersForImage for a few of them.
"""

from __future__ import annotations

from typing import Any

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import asked
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import UseCount
from chalicelib.domain.images.image import Coverage
from chalicelib.parsers.findings.enhanced_scan import parse_list_coverage
from chalicelib.parsers.usage.use_answers import ClusterUses
from chalicelib.parsers.wire.answer import read

ASKED = 3
PAGE = 100


class UseCounts:
    """Of our own Region. Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("inspector2")

    def sample(self) -> tuple[UseCount, ...]:
        """Of a few images that are used more than once. One whose clusters do not fit into a page is left out."""
        what = "ask Inspector which images are used"
        often = {"ecrImageInUseCount": [{"lowerInclusive": 2}]}
        answer = asked(what, self._client.list_coverage, filterCriteria=often, maxResults=PAGE)
        with readable(what):
            items = parse_list_coverage(dict(answer)).items
        return tuple(filter(None, (self._count(item) for item in items[:ASKED])))

    def _count(self, item: Coverage) -> UseCount | None:
        what = f"ask Inspector what uses {item.ref}"
        call = self._client.get_clusters_for_image
        answer: dict[str, Any] = asked(what, call, filter={"resourceId": item.ref.arn}, maxResults=PAGE)
        with readable(what):
            clusters = read(ClusterUses, answer).cluster
        if answer.get("nextToken") or item.in_use_count is None:
            return None
        units = [detail.running_unit_count for cluster in clusters for detail in cluster.cluster_details]
        return UseCount(item.in_use_count, len(clusters), sum(unit or 0 for unit in units))
