"""Which images the Pods of a cluster were admitted with, as items of the table.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| admission | `ADMITTED#<cluster>` | `<digest>` or path | `aa` N the day it was admitted last; `ttl` N removed at | 1 |

Outside the indexes. Written once a day for each cluster and image, whatever Pods start.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import admission_key, number_of, read_number

KEPT_FOR = timedelta(days=181)


class AdmissionItems:
    """services.ports.table.Admissions on DynamoDB."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def last(self, cluster: str, images: Collection[str]) -> dict[str, datetime]:
        items = self._dynamo.get_many(admission_key(cluster, image) for image in images)
        return {item[s.SK]["S"]: read_number(item[s.ADMITTED_AT]["N"]) for item in items}

    def remember(self, cluster: str, images: Collection[str], at: datetime) -> None:
        day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        known = self.last(cluster, images)
        times = {s.ADMITTED_AT: {"N": number_of(day)}, s.EXPIRES: {"N": str(int((day + KEPT_FOR).timestamp()))}}
        for image in images:
            if image not in known or known[image] < day:
                condition = f"attribute_not_exists({s.PK}) OR {s.ADMITTED_AT} < :day"
                self._dynamo.put_if(admission_key(cluster, image) | times, condition, {":day": times[s.ADMITTED_AT]})
