"""The one table's writer: every item but policy and waivers is put here, on the conditions the write protocol needs.

`headers`, `documents`, `catalogue`, `repositories` and `audit_log` do the work for their items, `dynamodb/schema` names
the attributes, and `findings_queries` reads for people. The fuse, denied digests, summaries and roll-outs are put here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo, encode, expand, still
from chalicelib.adapters.dynamodb.schema import (
    Item,
    fuse_key,
    layers_key,
    nonce,
    number_of,
    read_number,
    repository_key,
    repository_of,
    rollout_key,
    summary_key,
)
from chalicelib.adapters.stores.rule_store import read_versions
from chalicelib.adapters.table.audit_log import AuditCheckpoints, AuditLog
from chalicelib.adapters.table.catalogue import Catalogue
from chalicelib.adapters.table.documents import PART_BYTES, Documents, read_document
from chalicelib.adapters.table.headers import Headers
from chalicelib.adapters.table.repositories import Repositories, Tags
from chalicelib.domain.audit.action import ActionRecord, AlertDelivery
from chalicelib.domain.audit.chain import Chain, Head
from chalicelib.domain.audit.root import DayRoot
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Finding, FindingsDocument
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import ConflictError
from chalicelib.services.ports.table import DeniedDigests, DigestRange, RolloutProgress, Stored, TagMove

T = TypeVar("T")
KEV_REMEMBERED = timedelta(days=1)


class FindingsTable:
    """One table, two indexes. Units are DynamoDB write units (one for each started KB of the item).

    | item | pk | sk | attributes | a write costs |
    |---|---|---|---|---|
    | header | `REPO#<registry>/<region>/<repository>` | `IMAGE#<digest>` | `v` N version; `s` S scan state; \
`c` B counts of open findings by severity; `p` N policy version; `k` B sketch; `t` S up to three tags; \
`e` B enforcement; `la` N looked at; `ld` N look due at; `b` B all else; `x` B nonce; `gsi_*`, `due_*` | \
1 (200 findings); + 1 or 2 for each index entry that changes |
    | findings | `IMAGE#<registry>/<region>/<repository>@<digest>` | `FINDINGS` | `r` N revision; `x` B nonce; \
`f` B packed findings, or `o` B the parts' keys and SHA-256 | 8 (200 findings) |
    | part of them | same | `FINDINGS#<revision>#<random>#<n>` | `f` B; `at` N put at | 350 |
    | action | same, or `SUBJECT#<subject>` | `ACTION#<wanted at>#<effect>` | `rc` B record as JSON; `n` N number in \
the chain; `ch` B its link; `ki` `ac` `re` S kind, actor, reason; `gsi_*` | 2 + 2 for the head + 1 index, in one \
transaction |
    | audit head | same | `AUDIT_HEAD` | `n` N count; `ch` B last link | (see action) |
    | tag | `REPO#…` | `TAG#<tag>` | `d` S digest, absent when deleted; `m` N moved at; `h` B the last 20 events | 1 |
    | layers | `REPO#…` | `LAYERS#<mark>` | `d` S digest of the image that was quarantined with them last | 1 |
    | repository | `REPO#…` | `REPOSITORY` | one attribute for each fact; `dn` B denied digests, former policy; \
`gsi_*`, `due_*` | 1; + 1 when new, or when the first digest comes or the last one goes |
    | fuse | `FUSE` | `NOW`, `RELEASES` | `bd` B acts of the last hour, those that wait, the last reset | 1 |
    | vulnerability | `VULN#<id>` | `<database>` | `z` B texts; `zh` B their hash; `ep` N EPSS; `ea` N its date | 1 |
    | KEV fact | `VULN#<id>` | `#KEV` | `kv` BOOL, absent for no answer; `at` N asked at | 1 |
    | summary | `SUMMARY` | `NOW`, `DAY#<date>` | `bd` B content, deflated; `at` N | 1 for each started KB |
    | audit heads | `SUMMARY` | `HEADS#<date>#<first byte of the chain's hash>` | `bd` B name, count and link of \
chains, deflated; `x` B nonce | 1 for each started KB |
    | audit root | `SUMMARY` | `ROOT#<date>` | `bd` B root of all heads copied up to that day | 1 |
    | fan-out | `POLICY` | `FAN_OUT` | `bd` B how far the newest policy has been carried, as JSON; `r` N revision; \
`x` B nonce | 1 for each started KB |
    | versions | `VERSIONS` | `NOW` | `p` N policy; `w` N waivers (`rule_store` writes these) | 1 |

    Times are numbers: seconds since 1970, six decimals at most.

    Index `by_state` (`gsi_pk`, `gsi_sk`; projects `c s e t p k` of headers, `ki ac re` of actions):
    `STATE#<digest's first byte mod 8>`, `<decision><severity>#<seconds down>`: images that exist, worst first, then
    newest (decision 0 QUARANTINE to 4 ALLOW; severity 0 CRITICAL to 5 UNKNOWN, 6 none open);
    `AUDIT#<yyyy-mm-dd>`, `<time>#<effect>`: what was done on a day;
    `REPOSITORIES`, `<registry>/<region>/<repository>`: all repositories.

    Index `by_due` (`due_pk`, `due_sk`; keys only): `DUE#<shard>`, seconds: what the clock must look at;
    `"DENIES"`, `"<registry>/<region>/<repository>"`: repositories with denied digests.

    `part_bytes` is where a document is cut into parts. Safe to share between threads as far as the client is.
    """

    def __init__(self, dynamo: Dynamo, now: Callable[[], datetime], *, part_bytes: int = PART_BYTES) -> None:
        self._dynamo, self._now = dynamo, now
        self._repositories = Repositories(dynamo)
        self._tags = Tags(dynamo)
        self._headers = Headers(dynamo, self._repositories, now)
        self._documents = Documents(dynamo, now, part_bytes)
        self._catalogue = Catalogue(dynamo)
        self._audit = AuditLog(dynamo)
        self._heads = AuditCheckpoints(dynamo)

    # --- headers

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        """Headers with the revisions of the documents beside them, in one consistent batch; findings stay behind."""
        return self._headers.read(refs)

    def put_header(self, header: Header) -> Header:
        """As `version + 1` on condition of `version`. 1 unit, and none on an index whose entry stays the same.

        The first header of a repository makes the repository known too (2 units, once).
        """
        return self._headers.put(header)

    def mark_refresh(self, ref: ImageRef, version: int, due_at: datetime) -> None:
        """Sets `refresh_due_at` on condition of `version`, and raises `version`: earlier readers must read again.
        An unknown image gets a header outside the index `by_state`. 1 unit, no index write."""
        self._headers.mark_refresh(ref, version, due_at)

    def headers_of(self, repository: Repository, between: DigestRange | None = None) -> Iterator[Header]:
        """The headers of a repository by digest, page by page; eventually consistent."""
        return self._headers.of_repository(repository, between)

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        """Oldest first; eventually consistent."""
        return self._headers.due(shard, before)

    # --- findings

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        return read_document(self._dynamo, ref)

    def put_document(self, document: FindingsDocument, former: FindingsDocument) -> FindingsDocument:
        """As revision `former.revision + 1` on condition of `former.revision`. 1 unit for each started KB."""
        return self._documents.put(document, former.revision)

    def store_vulnerabilities(self, findings: Iterable[Finding]) -> None:
        """1 unit for each vulnerability that is new or whose texts changed; nothing for those known to be stored."""
        self._catalogue.keep(findings)

    def read_kev(self, vulnerability_ids: Iterable[str]) -> dict[str, tuple[bool | None, datetime]]:
        return self._catalogue.read_kev(vulnerability_ids, self._now() - KEV_REMEMBERED)

    def store_kev(self, facts: Mapping[str, bool | None], at: datetime) -> None:
        self._catalogue.store_kev(facts, at)

    # --- tags and repositories

    def move_tag(
        self, repository: Repository, tag: str, digest: str | None, at: datetime, *, settles_tie: bool = False
    ) -> TagMove:
        """1 unit for an event not heard before, late ones included: they take their place in the history."""
        return self._tags.move(repository, tag, digest, at, settles_tie=settles_tie)

    def read_tag(self, repository: Repository, tag: str) -> str | None:
        return self._tags.read(repository, tag)

    def last_tag_move(self, repository: Repository, tag: str) -> TagMove | None:
        return self._tags.last_move(repository, tag)

    def keep_layers(self, repository: Repository, mark: str, digest: str) -> None:
        """1 unit."""
        self._dynamo.put(layers_key(repository, mark) | {s.DIGEST: {"S": digest}})

    def read_layers(self, repository: Repository, mark: str) -> str | None:
        item = self._dynamo.get(layers_key(repository, mark))
        return item[s.DIGEST]["S"] if item is not None else None

    def store_repository(self, repository: Repository, facts: Mapping[str, object]) -> None:
        """Nothing is written when all of it is known. Times (`…_at`) only move later; None removes a fact."""
        self._repositories.keep(repository, facts)

    def forget_repository(self, repository: Repository) -> None:
        """1 unit and 1 on each index that lists it. The next fact of it makes it known anew."""
        self._repositories.forget(repository)

    # --- audit, guards, summary

    def record_action(self, record: ActionRecord) -> bool:
        """Action and head of the chain in one transaction: 4 units and 1 on the index. False: recorded before."""
        return self._audit.append(record)

    def action_at(self, chain: Chain, effect: str, wanted_at: datetime) -> datetime | None:
        return self._audit.time_of(chain, effect, wanted_at)

    def read_delivery(self, chain: Chain, effect: str, wanted_at: datetime) -> AlertDelivery | None:
        return self._audit.delivery_of(chain, effect, wanted_at)

    def claim_delivery(self, chain: Chain, effect: str, wanted_at: datetime, claims: int, at: datetime) -> None:
        """1 unit."""
        self._audit.claim_delivery(chain, effect, wanted_at, claims, at)

    def mark_delivered(self, chain: Chain, effect: str, wanted_at: datetime, at: datetime) -> None:
        """1 unit."""
        self._audit.mark_delivered(chain, effect, wanted_at, at)

    def put_checkpoints(self, day: date, heads: Mapping[Chain, Head]) -> None:
        """Adds to the day's copies the heads that have more records than what was copied. 1 unit for each started KB
        of each of 256 items that change."""
        self._heads.copy(day, heads)

    def put_root(self, sealed: DayRoot) -> None:
        """1 unit, once a day."""
        self._heads.put_root(sealed)

    def read_fuse(self, *, releases: bool = False) -> Fuse:
        return self._read(fuse_key(releases), s.BODY, Fuse)[0]

    def change_fuse(self, change: Callable[[Fuse], Fuse], *, releases: bool = False) -> Fuse:
        """1 unit for each started KB, none where nothing changes."""
        return self._change(fuse_key(releases), s.BODY, Fuse, change)

    def read_denied(self, repository: Repository) -> DeniedDigests:
        return self._read(repository_key(repository), s.DENIED, DeniedDigests)[0]

    def change_denied(self, repository: Repository, change: Callable[[DeniedDigests], DeniedDigests]) -> DeniedDigests:
        """As `change_fuse`, of the repository's whole item; 1 more where it was not known: it is listed from now on."""

        def listed(denied: DeniedDigests) -> Item:
            due = (s.DENIES, f'"{repository.path}"') if denied.digests else (None, None)
            keys = zip(
                (s.STATE_PK, s.STATE_SK, s.DUE_PK, s.DUE_SK), (s.REPOSITORIES, repository.path, *due), strict=True
            )
            return {name: None if text is None else {"S": text} for name, text in keys}

        return self._change(repository_key(repository), s.DENIED, DeniedDigests, change, listed)

    def denying(self) -> Iterator[Repository]:
        """A query of the index; eventually consistent."""
        values = {":pk": {"S": s.DENIES}}
        return map(repository_of, self._dynamo.query(f"{s.DUE_PK} = :pk", values, IndexName=s.BY_DUE))

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        """The summary as of `at`, unless a newer one is stored; the first of a day stays as that day's."""
        body: Item = {s.BODY: {"B": zlib.compress(content)}, s.PUT_AT: {"N": number_of(at)}}
        try:
            old = self._dynamo.put(
                summary_key() | body,
                f"attribute_not_exists({s.PK}) OR #at < :at",
                {":at": body[s.PUT_AT]},
                ExpressionAttributeNames={"#at": s.PUT_AT},
                ReturnValues="ALL_OLD",
            )
        except ConflictError:
            return
        if not old or read_number(old[s.PUT_AT]["N"]).date() != at.astimezone(UTC).date():
            self._dynamo.put(summary_key(at) | body)

    def read_rollout(self) -> RolloutProgress | None:
        item = self._dynamo.get(rollout_key())
        return msgspec.json.decode(item[s.BODY]["B"], type=RolloutProgress) if item is not None else None

    def put_rollout(self, rollout: RolloutProgress) -> RolloutProgress:
        """1 unit for each started KB: the worst images are named in it."""
        put = msgspec.structs.replace(rollout, revision=rollout.revision + 1)
        item = rollout_key() | nonce() | {s.REVISION: {"N": str(put.revision)}, s.BODY: {"B": msgspec.json.encode(put)}}
        former = {"N": str(rollout.revision)} if rollout.revision else None
        self._dynamo.put(item, **still(s.REVISION, former))
        return put

    def read_versions(self) -> tuple[int, int]:
        """Policy, waivers."""
        return read_versions(self._dynamo)

    def _read(self, key: Item, name: str, kind: type[T]) -> tuple[T, Item | None]:
        stored = (self._dynamo.get(key) or {}).get(name)
        return (kind() if stored is None else expand(kind, bytes(stored["B"]))), stored

    def _change(
        self, key: Item, name: str, kind: type[T], change: Callable[[T], T], more: Callable[[T], Item] = lambda _: {}
    ) -> T:
        """Writes nothing where `change` changes nothing: a write whose answer was lost is seen as done.

        `more`: attributes that are put along with what it became; None: removed.
        """

        def attempt() -> T:
            former, stored = self._read(key, name, kind)
            value = change(former)
            if value != former:
                self._put(key, name, stored, {name: {"B": encode(value)}} | more(value))
            return value

        return self._dynamo.insist(f"{key[s.PK]['S']} {name}", attempt)

    def _put(self, key: Item, name: str, stored: Item | None, attributes: Item) -> None:
        values = {f":{attribute}": value for attribute, value in attributes.items() if value is not None}
        gone = [attribute for attribute, value in attributes.items() if value is None]
        sets = f"SET {', '.join(f'{value[1:]} = {value}' for value in values)}"
        self._dynamo.update(
            key,
            UpdateExpression=f"{sets} REMOVE {', '.join(gone)}" if gone else sets,
            ConditionExpression=f"attribute_not_exists({name})" if stored is None else f"{name} = :stored",
            ExpressionAttributeValues=values if stored is None else values | {":stored": stored},
        )
