"""The one table's writer: every item but policy and waivers is put here, on the conditions the write protocol needs.

Reads for people are `findings_queries`'. How an item is packed is told by `header_items`, `packing`, `catalogue`,
`tag_moves`, `repository_facts`, `guards`, `snapshots` and `audit_chain`; what it is called by `table_schema`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.audit_heads import AuditHeads
from chalicelib.adapters.audit_log import AuditLog
from chalicelib.adapters.catalogue import Catalogue
from chalicelib.adapters.documents import PART_BYTES, Documents, read_document
from chalicelib.adapters.dynamo import Dynamo
from chalicelib.adapters.guards import Guards
from chalicelib.adapters.header_items import header_item, read_header_item
from chalicelib.adapters.policy_store import read_versions
from chalicelib.adapters.repository_facts import fact_attributes, news, update_of
from chalicelib.adapters.snapshots import put_snapshot
from chalicelib.adapters.table_schema import (
    BODY,
    BY_DUE,
    DIGEST,
    DUE_PK,
    DUE_SK,
    HEADER_ATTRIBUTES,
    LOOK_DUE_AT,
    MOVES,
    NONCE,
    PK,
    REPOSITORIES,
    REVISION,
    SK,
    STATE_PK,
    STATE_SK,
    VERSION,
    Item,
    document_key,
    due_pk,
    due_sk,
    fan_out_key,
    header_key,
    image_of,
    nonce,
    number_of,
    repository_key,
    repository_pk,
    tag_key,
)
from chalicelib.adapters.tag_moves import moves_item, points_at, read_moves, tag_move, with_move
from chalicelib.domain.audit_chain import Chain, Head
from chalicelib.domain.document import FindingsDocument
from chalicelib.domain.finding import Finding
from chalicelib.domain.fuse import Fuse
from chalicelib.domain.header import Header
from chalicelib.domain.image import ImageRef, Repository
from chalicelib.errors import ConflictError
from chalicelib.services.ports import ActionRecord, Denied, FanOut, Stored, TagMove

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

KEV_REMEMBERED = timedelta(days=1)
_ABSENT = f"attribute_not_exists({PK})"


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
    | repository | `REPO#…` | `REPOSITORY` | one attribute for each fact; `dn` B denied digests, former policy; \
`gsi_*` | 1; + 1 when new |
    | fuse | `FUSE` | `NOW` | `bd` B acts of the last hour, those that wait, the last reset | 1 |
    | vulnerability | `VULN#<id>` | `<database>` | `z` B texts; `zh` B their hash; `ep` N EPSS; `ea` N its date | 1 |
    | KEV fact | `VULN#<id>` | `#KEV` | `kv` BOOL, absent for no answer; `at` N asked at | 1 |
    | summary | `SUMMARY` | `NOW`, `DAY#<date>` | `bd` B content, deflated; `at` N | 1 for each started KB |
    | audit heads | `SUMMARY` | `HEADS#<date>#<first byte of the chain's hash>` | `bd` B name, count and link of \
chains, deflated; `x` B nonce | 1 for each started KB |
    | fan-out | `POLICY` | `FAN_OUT` | `bd` B how far the newest policy has been carried, as JSON | 1 |
    | versions | `VERSIONS` | `NOW` | `p` N policy; `w` N waivers (`policy_store` writes these) | 1 |

    Times are numbers: seconds since 1970, six decimals at most.

    Index `by_state` (`gsi_pk`, `gsi_sk`; projects `c s e t p k` of headers, `ki ac re` of actions):
    `STATE#<digest's first byte mod 8>`, `<decision><severity>#<seconds down>`: images that exist, worst first, then
    newest (decision 0 QUARANTINE to 4 ALLOW; severity 0 CRITICAL to 5 UNKNOWN, 6 none open);
    `AUDIT#<yyyy-mm-dd>`, `<time>#<effect>`: what was done on a day;
    `REPOSITORIES`, `<registry>/<region>/<repository>`: all repositories.

    Index `by_due` (`due_pk`, `due_sk`; keys only): `DUE#<shard>`, seconds: what the clock must look at.

    `part_bytes` is where a document is cut into parts. Safe to share between threads as far as `client` is.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        now: Callable[[], datetime],
        *,
        part_bytes: int = PART_BYTES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamo = Dynamo(client, table_name, sleep)
        self._now = now
        self._documents = Documents(self._dynamo, now, part_bytes)
        self._catalogue = Catalogue(self._dynamo)
        self._audit = AuditLog(self._dynamo)
        self._heads = AuditHeads(self._dynamo)
        self._guards = Guards(self._dynamo)
        self._introduced: set[Repository] = set()

    # --- headers

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        """Headers with the revisions of the documents beside them, in one consistent batch; findings stay behind."""
        wanted = list(dict.fromkeys(refs))
        keys = [key for ref in wanted for key in (header_key(ref), document_key(ref))]
        items = {
            (item[PK]["S"], item[SK]["S"]): item for item in self._dynamo.get_many(keys, (*HEADER_ATTRIBUTES, REVISION))
        }
        found = {}
        for ref in wanted:
            header, document = (items.get((k[PK]["S"], k[SK]["S"])) for k in (header_key(ref), document_key(ref)))
            if header is not None:
                revision = int(document[REVISION]["N"]) if document else 0
                found[ref] = Stored(read_header_item(header), revision)
        return found

    def put_header(self, header: Header) -> Header:
        """As `version + 1` on condition of `version`. 1 unit, and none on an index whose entry stays the same.

        The first header of a repository makes the repository known too (2 units, once).
        """
        if not header.version:
            self._introduce(header.ref.home)
        put = msgspec.structs.replace(header, version=header.version + 1)
        self._dynamo.put(header_item(put) | nonce(), *_version_is(header.version))
        return put

    def mark_look(self, ref: ImageRef, version: int, due_at: datetime) -> None:
        """Sets `look_due_at` on condition of `version`, and raises `version`: whoever read before must read again.
        An unknown image gets a header outside the index `by_state`. 1 unit, no index write."""
        if not version:
            self.put_header(Header(ref=ref, known_at=self._now(), look_due_at=due_at))
            return
        mine = nonce()
        values = {
            ":due": {"N": number_of(due_at)},
            ":next": {"N": str(version + 1)},
            ":version": {"N": str(version)},
            ":nonce": mine[NONCE],
        }
        try:
            self._dynamo.update(
                header_key(ref),
                UpdateExpression=f"SET {LOOK_DUE_AT} = :due, {VERSION} = :next, {NONCE} = :nonce",
                ConditionExpression=f"{VERSION} = :version",
                ExpressionAttributeValues=values,
            )
        except ConflictError:
            stored = self._dynamo.get(header_key(ref)) or {}
            if stored.get(NONCE) != mine[NONCE]:  # else its answer was lost and it was sent again
                raise

    def headers_of(self, repository: Repository) -> Iterator[Header]:
        """All headers of a repository, page by page; eventually consistent."""
        values = {":pk": {"S": repository_pk(repository)}, ":images": {"S": "IMAGE#"}}
        for item in self._dynamo.query(f"{PK} = :pk AND begins_with({SK}, :images)", values):
            yield read_header_item(item)

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        """Oldest first; eventually consistent."""
        values = {":pk": {"S": due_pk(shard)}, ":before": {"S": due_sk(before)}}
        found = self._dynamo.query(f"{DUE_PK} = :pk AND {DUE_SK} <= :before", values, IndexName=BY_DUE)
        return [image_of(item) for item in found]

    # --- findings

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        return read_document(self._dynamo, ref)

    def put_document(self, document: FindingsDocument, former: FindingsDocument) -> FindingsDocument:
        """As revision `former.revision + 1` on condition of `former.revision`. 1 unit for each started KB."""
        return self._documents.put(document, former.revision)

    def keep_vulnerabilities(self, findings: Iterable[Finding]) -> None:
        """1 unit for each vulnerability that is new or whose texts changed; nothing for those known to be stored."""
        self._catalogue.keep(findings)

    def read_kev(self, vulnerability_ids: Iterable[str]) -> dict[str, tuple[bool | None, datetime]]:
        return self._catalogue.read_kev(vulnerability_ids, self._now() - KEV_REMEMBERED)

    def keep_kev(self, facts: Mapping[str, bool | None], at: datetime) -> None:
        self._catalogue.keep_kev(facts, at)

    # --- tags and repositories

    def move_tag(
        self, repository: Repository, tag: str, digest: str | None, at: datetime, *, settles_tie: bool = False
    ) -> TagMove:
        """1 unit for an event not heard before, late ones included: they take their place in the history."""

        def attempt() -> TagMove:
            stored = self._dynamo.get(tag_key(repository, tag))
            before = read_moves(stored)
            after = with_move(before, digest, at, settles_tie=settles_tie)
            if after == before:
                return tag_move(tag, before, moved=False)
            self._dynamo.put(tag_key(repository, tag) | moves_item(after), *_moves_are(stored))
            return tag_move(tag, after, moved=points_at(after) != points_at(before))

        return self._dynamo.insist(f"{repository.path}:{tag}", attempt)

    def read_tag(self, repository: Repository, tag: str) -> str | None:
        item = self._dynamo.get(tag_key(repository, tag))
        return item[DIGEST]["S"] if item and DIGEST in item else None

    def last_tag_move(self, repository: Repository, tag: str) -> TagMove | None:
        moves = read_moves(self._dynamo.get(tag_key(repository, tag)))
        return tag_move(tag, moves, moved=False) if moves else None

    def keep_repository(self, repository: Repository, facts: Mapping[str, object]) -> None:
        """Nothing is written when all of it is known. Times (`…_at`) only move later; None removes a fact."""

        def attempt() -> None:
            stored = self._dynamo.get(repository_key(repository))
            new = news(stored, facts)
            if stored is None or new:
                self._put_facts(repository, stored, new)

        self._dynamo.insist(repository.path, attempt)

    def _introduce(self, repository: Repository) -> None:
        """Events of CreateRepository need a trail and come once: whoever has an image is known by it."""
        if repository not in self._introduced:
            self.keep_repository(repository, {})
            self._introduced.add(repository)

    def _put_facts(self, repository: Repository, stored: Item | None, new: Mapping[str, object]) -> None:
        if stored is not None:
            self._dynamo.update(repository_key(repository), **update_of(new))
            return
        listed = {STATE_PK: {"S": REPOSITORIES}, STATE_SK: {"S": repository.path}}
        item = repository_key(repository) | listed | fact_attributes(new)
        self._dynamo.put(item, _ABSENT)

    # --- audit, guards, summary

    def record_action(self, record: ActionRecord) -> bool:
        """Action and head of the chain in one transaction: 4 units and 1 on the index. False: recorded before."""
        return self._audit.append(record)

    def action_at(self, chain: Chain, effect: str, wanted_at: datetime) -> datetime | None:
        return self._audit.time_of(chain, effect, wanted_at)

    def copy_heads(self, day: date, heads: Mapping[Chain, Head]) -> None:
        """Adds to the copies of the day. 1 unit for each started KB of each of 256 items that change."""
        self._heads.copy(day, heads)

    def read_fuse(self) -> Fuse:
        return self._guards.read_fuse()

    def change_fuse(self, change: Callable[[Fuse], Fuse]) -> Fuse:
        """1 unit for each started KB, none where nothing changes."""
        return self._guards.change_fuse(change)

    def read_denied(self, repository: Repository) -> Denied:
        return self._guards.read_denied(repository)

    def change_denied(self, repository: Repository, change: Callable[[Denied], Denied]) -> Denied:
        """As `change_fuse`, of the repository's whole item; 1 more where it was not known."""
        return self._guards.change_denied(repository, change)

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        """The summary as of `at`, unless a newer one is stored; the first of a day stays as that day's."""
        put_snapshot(self._dynamo, content, at)

    def read_fan_out(self) -> FanOut | None:
        item = self._dynamo.get(fan_out_key())
        return msgspec.json.decode(item[BODY]["B"], type=FanOut) if item is not None else None

    def put_fan_out(self, fan_out: FanOut) -> None:
        self._dynamo.put(fan_out_key() | {BODY: {"B": msgspec.json.encode(fan_out)}})

    def read_versions(self) -> tuple[int, int]:
        """Policy, waivers."""
        return read_versions(self._dynamo)


def _version_is(version: int) -> tuple[str, Item | None]:
    return (f"{VERSION} = :version", {":version": {"N": str(version)}}) if version else (_ABSENT, None)


def _moves_are(stored: Item | None) -> tuple[str, Item | None]:
    return (_ABSENT, None) if stored is None else (f"{MOVES} = :moves", {":moves": stored[MOVES]})
