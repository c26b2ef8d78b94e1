"""The settings of each private repository as they were gathered last: what posture judges.

| item | pk | sk | attributes | a write costs |
|---|---|---|---|---|
| settings | `REPO#<path>` | `SETTINGS` | `bd` B JSON, deflated; `aa` N since when, in seconds | 1 a KB |

Beside the repository's own item, not in it: a policy has up to 10 KB, and each fact that changes would be billed with
them. Written only where something differs. Outside the indexes.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import BODY, Item, key, number_of, read_number, repository_pk
from chalicelib.domain.images.image import Repository
from chalicelib.domain.reconcile.posture import GatheredSettings

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_SETTINGS, _SINCE = "SETTINGS", "aa"


class SettingsItems:
    """services.ports.replication.GatheredPosture on DynamoDB."""

    def __init__(self, client: DynamoDBClient, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._dynamo = Dynamo(client, table_name, sleep)

    def read(self, repository: Repository) -> tuple[GatheredSettings, datetime] | None:
        item = self._dynamo.get(_key(repository))
        return None if item is None else (_settings(item), read_number(item[_SINCE]["N"]))

    def keep(self, repository: Repository, settings: GatheredSettings, at: datetime) -> bool:
        """Whoever looked later stands."""

        def attempt() -> bool:
            stored = self._dynamo.get(_key(repository))
            if stored is not None and (_settings(stored) == settings or read_number(stored[_SINCE]["N"]) > at):
                return False
            item = _key(repository) | {BODY: {"B": _packed(settings)}, _SINCE: {"N": number_of(at)}}
            if stored is None:
                self._dynamo.put(item, f"attribute_not_exists({BODY})")
            else:
                self._dynamo.put(item, f"{BODY} = :stored", {":stored": stored[BODY]})
            return True

        return self._dynamo.insist(f"the settings of {repository.path}", attempt)


def _key(repository: Repository) -> Item:
    return key(repository_pk(repository), _SETTINGS)


def _packed(settings: GatheredSettings) -> bytes:
    return zlib.compress(msgspec.json.encode(settings))


def _settings(item: Item) -> GatheredSettings:
    return msgspec.json.decode(zlib.decompress(bytes(item[BODY]["B"])), type=GatheredSettings)
