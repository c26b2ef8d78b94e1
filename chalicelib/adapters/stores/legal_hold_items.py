"""Legal holds as items of the table.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| legal hold | `REPO#<registry>/<region>/<repository>` | `LEGAL_HOLD#<digest>` | `bd` B JSON | 1 |

The one on the whole repository has no digest in its key. Outside the indexes; all of a repository are one Query. One
that was ended stays, with who has ended it.
"""

from __future__ import annotations

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import legal_hold_key, repository_pk
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.legal_hold import LegalHold


class LegalHoldItems:
    """services.ports.registry.LegalHolds on DynamoDB."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def of(self, repository: Repository) -> tuple[LegalHold, ...]:
        values = {":pk": {"S": repository_pk(repository)}, ":holds": {"S": s.LEGAL_HOLD}}
        items = self._dynamo.query(f"{s.PK} = :pk AND begins_with({s.SK}, :holds)", values, ConsistentRead=True)
        return tuple(msgspec.json.decode(item[s.BODY]["B"], type=LegalHold) for item in items)

    def put(self, hold: LegalHold) -> None:
        key = legal_hold_key(hold.repository, hold.digest)
        self._dynamo.put(key | {s.BODY: {"B": msgspec.json.encode(hold)}})
