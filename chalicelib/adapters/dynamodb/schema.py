"""Names of the table's parts (attributes, keys, indexes), how the table is created, and positions in its lists.

`findings_table.FindingsTable` documents what each item holds and costs. Attribute names are short because DynamoDB
bills them with every item.

A position is an opaque text that names the row after which a list goes on, so that it stays right while rows come and
go. The API signs it before it gives it out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from chalicelib.domain.audit.chain import Chain, chain_name
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ParameterError
from chalicelib.services.ports.table import Page

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]

PK, SK = "pk", "sk"
BY_STATE, STATE_PK, STATE_SK = "by_state", "gsi_pk", "gsi_sk"
BY_DUE, DUE_PK, DUE_SK = "by_due", "due_pk", "due_sk"
SHARDS = 8

# Headers and documents: says whose put it was.
NONCE = "x"
# Headers.
VERSION, LOOKED_AT, LOOK_DUE_AT, HEADER_REST = "v", "la", "ld", "b"
COUNTS, SCAN_STATE, ENFORCEMENT, TAGS, POLICY_VERSION, SKETCH = "c", "s", "e", "t", "p", "k"
# Documents and their parts.
REVISION, FINDINGS, PARTS, PUT_AT = "r", "f", "o", "at"
# Tags.
DIGEST, MOVED_AT, MOVES = "d", "m", "h"
# Actions and the head of their chain.
KIND, ACTOR, REASON, RECORD, NUMBER, CHAIN = "ki", "ac", "re", "rc", "n", "ch"
# Of an alert for one channel, beside its record: how often it was claimed, when last, and when it was delivered.
CLAIMS, CLAIMED_AT, DELIVERED_AT = "cl", "ca", "da"
# Repositories: the digests whose pulls are denied.
DENIED = "dn"
# Digests that a cluster admitted: on which day last, as a time.
ADMITTED_AT = "aa"
# The catalogue.
TEXTS, TEXTS_HASH, EPSS, EPSS_AT, KEV = "z", "zh", "ep", "ea", "kv"
# Policy, waivers, fuse, snapshots, versions.
BODY, WAIVERS_VERSION = "bd", "w"
# What DynamoDB removes by itself some time after this second (since 1970); readers check it.
EXPIRES = "ttl"

HEADER_ATTRIBUTES = (
    PK, SK, VERSION, LOOKED_AT, LOOK_DUE_AT, HEADER_REST, COUNTS, SCAN_STATE, ENFORCEMENT, TAGS, POLICY_VERSION, SKETCH,
    DUE_SK,
)  # fmt: skip
# Fixed for tables that are deployed: another projection is another index (docs/versioning.md).
PROJECTED = (COUNTS, SCAN_STATE, ENFORCEMENT, TAGS, POLICY_VERSION, SKETCH, KIND, ACTOR, REASON)

DOCUMENT, AUDIT_HEAD, REPOSITORY, KEV_FACT, NOW = "FINDINGS", "AUDIT_HEAD", "REPOSITORY", "#KEV", "NOW"
ACTION, LEGAL_HOLD = "ACTION#", "LEGAL_HOLD#"
VERSIONS_KEY = {PK: {"S": "VERSIONS"}, SK: {"S": NOW}}
REPOSITORIES = "REPOSITORIES"
# As JSON: an earlier version takes all texts of the repository's item but its keys for facts.
DENIES = '"DENIES"'
POLICY, WAIVER, SUMMARY, FUSE = "POLICY", "WAIVER", "SUMMARY", "FUSE"
RELEASES = "RELEASES"
WAIVER_CHANGE, WAIVER_NOTICE = "WAIVER_CHANGE", "WAIVER_NOTICE"

_WORST_FIRST = tuple(sorted(Decision, key=lambda d: -d.rank))
_NONE_OPEN = len(Severity)
_UNKNOWN_PUSH = "~"
_LAST_SECOND = 9_999_999_999
_MAX_ID_BYTES = 512
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def key(pk: str, sk: str) -> Item:
    return {PK: {"S": pk}, SK: {"S": sk}}


def nonce() -> Item:
    """Makes a put unlike every other, of the same content too: see `Dynamo.put`."""
    return {NONCE: {"B": secrets.token_bytes(4)}}


def repository_pk(home: Repository) -> str:
    return f"REPO#{home.path}"


def header_key(ref: ImageRef) -> Item:
    return key(repository_pk(ref.home), f"IMAGE#{ref.digest}")


def document_key(ref: ImageRef) -> Item:
    return key(f"IMAGE#{ref.path}", DOCUMENT)


def tag_key(home: Repository, tag: str) -> Item:
    return key(repository_pk(home), f"TAG#{tag}")


def admission_key(cluster: str, image: str) -> Item:
    return key(f"ADMITTED#{cluster}", image)


def legal_hold_key(home: Repository, digest: str | None) -> Item:
    """Without a digest: of the whole repository."""
    return key(repository_pk(home), f"{LEGAL_HOLD}{digest or ''}")


def layers_key(home: Repository, mark: str) -> Item:
    return key(repository_pk(home), f"LAYERS#{mark}")


def repository_key(home: Repository) -> Item:
    return key(repository_pk(home), REPOSITORY)


def audit_head_key(chain: Chain) -> Item:
    return key(chain_name(chain), AUDIT_HEAD)


def action_key(chain: Chain, wanted_at: datetime, effect: str) -> Item:
    return key(chain_name(chain), f"{ACTION}{wanted_at.astimezone(UTC).isoformat(timespec='microseconds')}#{effect}")


def audit_day(at: datetime) -> tuple[str, str]:
    """Partition of the index for a day's actions, and the moment as it stands in the sort key."""
    at = at.astimezone(UTC)
    return f"AUDIT#{at:%Y-%m-%d}", at.isoformat(timespec="microseconds")


def what_if_pk(job_id: str) -> str:
    return f"WHATIF#{job_id}"


def rollout_key() -> Item:
    """How far the newest policy has been carried."""
    return key(POLICY, "FAN_OUT")


def fuse_key(releases: bool = False) -> Item:
    """`releases`: of the brake, which counts what is given back."""
    return key(FUSE, RELEASES if releases else NOW)


def summary_key(day: datetime | None = None) -> Item:
    """Of the newest summary, or of the day's."""
    return key(SUMMARY, NOW if day is None else f"DAY#{day.astimezone(UTC):%Y-%m-%d}")


def vulnerability_pk(vulnerability_id: str) -> str:
    """Keys end at 2,048 bytes: an id no database would give is kept by its hash."""
    data = vulnerability_id.encode()
    return f"VULN#{vulnerability_id if len(data) <= _MAX_ID_BYTES else hashlib.sha256(data).hexdigest()}"


def repository_of(item: Item) -> Repository:
    """From the keys of a header, tag or repository item."""
    image = ImageRef.from_path(item[PK]["S"].partition("#")[2] + "@")
    return image.home


def image_of(item: Item) -> ImageRef:
    """From the keys of a header."""
    return repository_of(item).image(item[SK]["S"].partition("#")[2])


def shard_of(ref: ImageRef) -> int:
    return int(ref.digest.removeprefix("sha256:")[:2], 16) % SHARDS


def state_pk(shard: int) -> str:
    return f"STATE#{shard}"


def state_sk(decision: Decision, worst: Severity | None, pushed_at: datetime | None) -> str:
    """Worst first, and among equals the newest push first: the seconds count down. An unknown push comes last."""
    severity = _NONE_OPEN if worst is None else worst.digit
    pushed = _UNKNOWN_PUSH if pushed_at is None else f"{_LAST_SECOND - int(pushed_at.timestamp()):010d}"
    return f"{_WORST_FIRST.index(decision)}{severity}#{pushed}"


def read_state_sk(text: str) -> tuple[Decision, Severity | None, datetime | None]:
    digits, _, pushed = text.partition("#")
    severity = int(digits[1])
    worst = None if severity == _NONE_OPEN else tuple(Severity)[severity]
    at = None if pushed == _UNKNOWN_PUSH else datetime.fromtimestamp(_LAST_SECOND - int(pushed), UTC)
    return _WORST_FIRST[int(digits[0])], worst, at


def due_pk(shard: int) -> str:
    return f"DUE#{shard}"


def due_sk(at: datetime) -> str:
    """Seconds since 1970, with the fraction where there is one: sorts as time does."""
    micros = micros_of(at)
    fraction = f".{micros % 1_000_000:06d}" if micros % 1_000_000 else ""
    return f"{micros // 1_000_000:010d}{fraction}"


def read_number(text: str) -> datetime:
    """The time of a `number_of`, or of a `due_sk`."""
    whole, _, fraction = text.partition(".")
    return at_micros(int(whole or 0) * 1_000_000 + int(fraction.ljust(6, "0")))


def number_of(at: datetime) -> str:
    """A time as a DynamoDB number: seconds since 1970, six decimals at most."""
    whole, _, fraction = due_sk(at).partition(".")
    return f"{int(whole)}.{fraction.rstrip('0')}" if fraction else str(int(whole))


def micros_of(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def at_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def table_definition(name: str) -> Item:
    """The arguments of CreateTable."""
    attributes = (PK, SK, STATE_PK, STATE_SK, DUE_PK, DUE_SK)
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": a, "AttributeType": "S"} for a in attributes],
        "KeySchema": _schema(PK, SK),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": BY_STATE,
                "KeySchema": _schema(STATE_PK, STATE_SK),
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(PROJECTED)},
            },
            {
                "IndexName": BY_DUE,
                "KeySchema": _schema(DUE_PK, DUE_SK),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
        ],
    }


def create_table(client: DynamoDBClient, name: str) -> None:
    """For the local stack and tests; deployed tables come from the template. Waits until the table is there."""
    client.create_table(**table_definition(name))
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


T = TypeVar("T")


def page_of(rows: list[T], limit: int, place: Callable[[T], str]) -> Page[T]:
    """Of `limit` + 1 rows that were asked for."""
    shown = tuple(rows[:limit])
    return Page(shown, token_of(place(shown[-1])) if len(rows) > limit and shown else None)


def position_of(token: str | None, parts: int) -> tuple[str, ...] | None:
    """Raises ParameterError for a position that is none of ours."""
    if token is None:
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        place = msgspec.msgpack.decode(data, type=tuple[str, ...])
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise ParameterError("cursor", "is none that was given out") from error
    if len(place) != parts:
        raise ParameterError("cursor", "is none that was given out for this list")
    return place


def token_of(*place: str) -> str:
    """The inverse of `position_of`."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(place)).rstrip(b"=").decode()
