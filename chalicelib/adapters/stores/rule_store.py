"""Policy and waivers in the table, and the rules (both together) that every decision reads.

| item | pk | sk | holds |
|---|---|---|---|
| policy | `POLICY` | its version | its text |
| waiver | `WAIVER` | its id | JSON |
| change | `WAIVER_CHANGE` | the waivers' version it made, ten digits | JSON; deleted when it has reached every image |
| notice | `WAIVER_NOTICE` | the waiver's id | JSON: the last alert about its end |

Putting a policy or a waiver raises its version in `VERSIONS` in the same transaction (4 and 6 units), so a header's two
versions say whether it was decided by the rules of today. Versions are read before what they count: rules are never
older than they claim. A waiver's change is part of the transaction, so the clock carries it to the images even when the
worker dies. A notice lies beside the waiver and raises no version.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import ABSENT, Dynamo, encode, expand, still
from chalicelib.adapters.dynamodb.schema import Item, key, number_of, read_number
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.alert import Notice
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.errors import ConflictError, NotFoundError, PolicyError, StoredPolicyError, TransientError
from chalicelib.services.ports.context import PolicyVersion

KEPT_FOR = timedelta(seconds=60)


class ReadPolicy(Protocol):
    """Makes a policy of a stored text and its number. Raises PolicyError."""

    def __call__(self, text: str, /, *, number: int) -> Policy: ...


class PolicyStore:
    """`default_policy` is in force until one is stored. `account`: ours."""

    def __init__(
        self, dynamo: Dynamo, default_policy: Policy, now: Callable[[], datetime], read: ReadPolicy, account: str
    ) -> None:
        self._dynamo, self._default, self._now, self._read = dynamo, default_policy, now, read
        self._account = account
        self._kept: tuple[datetime, Rules] | None = None
        self._parsed: tuple[int, Policy] | None = None

    def current(self) -> Rules:
        """At most a minute old."""
        if self._kept is not None and self._kept[0] <= self._now() < self._kept[0] + KEPT_FOR:
            return self._kept[1]
        return self.fresh()

    def fresh(self) -> Rules:
        """As stored now; one read where nothing changed. Raises StoredPolicyError."""
        now = self._now()
        policy_version, waivers_version = read_versions(self._dynamo)
        kept = self._kept[1] if self._kept else None
        same_waivers = kept is not None and kept.waivers_version == waivers_version
        rules = Rules(
            policy=self._policy(policy_version),
            waivers=kept.waivers if kept and same_waivers else read_waivers(self._dynamo),
            policy_version=policy_version,
            waivers_version=waivers_version,
            account=self._account,
        )
        self._kept = (now, rules)
        return rules

    def policy_in_force(self) -> tuple[Policy, int]:
        """As stored now, with its version; waivers are not read. Raises StoredPolicyError."""
        version = read_versions(self._dynamo)[0]
        return self._policy(version), version

    def built_in(self) -> Policy:
        return self._default

    def policy_of(self, text: str) -> Policy:
        """As it would be put. Raises PolicyError."""
        return self._read(text, number=0)

    def put_policy(self, text: str, put_by: str, *, after: int | None = None) -> int:
        """Returns its version. `after`: only on top of this one.

        Raises PolicyError for a text that does not load: it is not put. Raises ConflictError when another policy was
        put meanwhile.
        """

        def attempt() -> int:
            former = read_versions(self._dynamo)[0]
            if after not in (None, former):
                return 0
            version = former + 1
            self._read(text, number=version)
            item = key(s.POLICY, _version_sk(version)) | {
                s.BODY: {"B": encode(text)},
                s.PUT_AT: {"N": number_of(self._now())},
                s.ACTOR: {"S": put_by},
            }
            self._dynamo.transact(("Put", {"Item": item, **ABSENT}), raised_version(s.POLICY_VERSION, version))
            return version

        version = self._dynamo.insist("the policy", attempt)
        if not version:
            raise ConflictError(f"another policy than number {after} is in force by now")
        return version

    def read_policy(self, version: int) -> PolicyVersion:
        """Raises NotFoundError."""
        item = self._dynamo.get(key(s.POLICY, _version_sk(version)))
        if item is None:
            raise NotFoundError(f"there is no policy version {version}")
        text = expand(str, item[s.BODY]["B"])
        return PolicyVersion(version, text, read_number(item[s.PUT_AT]["N"]), item[s.ACTOR]["S"])

    def _policy(self, version: int) -> Policy:
        """What a version says never changes: it is read once."""
        if self._parsed is None or self._parsed[0] != version:
            text = self.read_policy(version).text if version else None
            self._parsed = (version, self._default if text is None else self._loaded(text, version))
        return self._parsed[1]

    def _loaded(self, text: str, version: int) -> Policy:
        """It loaded when it was put: that it does not now is not the caller's fault."""
        try:
            return self._read(text, number=version)
        except PolicyError as error:
            raise StoredPolicyError(version, str(error)) from error


def read_waivers(dynamo: Dynamo) -> tuple[Waiver, ...]:
    """All that are stored, ended ones included."""
    found = dynamo.query(f"{s.PK} = :pk", {":pk": {"S": s.WAIVER}}, ConsistentRead=True)
    return tuple(msgspec.json.decode(item[s.BODY]["B"], type=Waiver) for item in found)


def raised_version(name: str, version: int) -> tuple[str, Item]:
    """The step of a transaction that raises a version to `version`, on condition that it was one less."""
    raising: Item = {
        "Key": s.VERSIONS_KEY,
        "UpdateExpression": f"SET {name} = :next",
        "ConditionExpression": f"attribute_not_exists({name})" if version == 1 else f"{name} = :former",
        "ExpressionAttributeValues": {":next": {"N": str(version)}},
    }
    if version > 1:
        raising["ExpressionAttributeValues"][":former"] = {"N": str(version - 1)}
    return "Update", raising


def read_versions(dynamo: Dynamo) -> tuple[int, int]:
    """Policy, waivers; 0 where none was stored."""
    item = dynamo.get(s.VERSIONS_KEY) or {}
    policy, waivers = (int(item[name]["N"]) if name in item else 0 for name in (s.POLICY_VERSION, s.WAIVERS_VERSION))
    return policy, waivers


RETRY_AFTER_SECONDS = 2.0


class WaiverStore:
    """Implements services.ports.context.Waivers. All reads are consistent."""

    def __init__(self, dynamo: Dynamo) -> None:
        self._dynamo = dynamo

    def read(self) -> tuple[Waiver, ...]:
        """All that are stored, ended ones included."""
        return read_waivers(self._dynamo)

    def get(self, waiver_id: str) -> Waiver | None:
        item = self._dynamo.get(key(s.WAIVER, waiver_id))
        return None if item is None else _read(item)

    def put(self, change: WaiverChange) -> WaiverChange:
        """Returns it with its version. Raises ConflictError where another waiver than `former` is stored. All waivers
        share one version: who loses it to the change of another waiver tries again, at last with a TransientError."""

        def attempt() -> WaiverChange | None:
            put = msgspec.structs.replace(change, version=read_versions(self._dynamo)[1] + 1)
            if (step := self._step(put)) is None:
                return None
            self._dynamo.transact(
                step, raised_version(s.WAIVERS_VERSION, put.version), ("Put", {"Item": _change_item(put), **ABSENT})
            )
            return put

        try:
            put = self._dynamo.insist("the waivers", attempt)
        except ConflictError as error:
            raise TransientError(str(error), RETRY_AFTER_SECONDS) from error
        if put is None:
            raise ConflictError(f"the waiver {change.subject.id} was changed in between")
        return put

    def changes(self) -> tuple[WaiverChange, ...]:
        """Those that have not reached every image, oldest first."""
        found = self._dynamo.query(f"{s.PK} = :pk", {":pk": {"S": s.WAIVER_CHANGE}}, ConsistentRead=True)
        return tuple(msgspec.json.decode(item[s.BODY]["B"], type=WaiverChange) for item in found)

    def store_change(self, change: WaiverChange) -> None:
        """Nothing where it was ended in between: it has reached every image."""
        self._dynamo.put_if(_change_item(change), f"attribute_exists({s.PK})")

    def end_change(self, version: int) -> None:
        self._dynamo.delete_many([key(s.WAIVER_CHANGE, _version_sk(version))])

    def notices(self) -> dict[str, Notice]:
        """By the waiver's id."""
        found = self._dynamo.query(f"{s.PK} = :pk", {":pk": {"S": s.WAIVER_NOTICE}}, ConsistentRead=True)
        return {item[s.SK]["S"]: msgspec.json.decode(item[s.BODY]["B"], type=Notice) for item in found}

    def store_notice(self, waiver_id: str, notice: Notice) -> None:
        self._dynamo.put(key(s.WAIVER_NOTICE, waiver_id) | {s.BODY: {"B": msgspec.json.encode(notice)}})

    def drop_notice(self, waiver_id: str) -> None:
        self._dynamo.delete_many([key(s.WAIVER_NOTICE, waiver_id)])

    def drop(self, waiver: Waiver) -> None:
        """One that is over, so that no decision hangs on it: no version is raised. Nothing where it was given anew."""
        item = self._dynamo.get(key(s.WAIVER, waiver.id))
        if item is None or _read(item) != waiver:
            return
        try:
            self._dynamo.transact(("Delete", {"Key": key(s.WAIVER, waiver.id), **still(s.BODY, item[s.BODY])}))
        except ConflictError:
            return

    def _step(self, change: WaiverChange) -> tuple[str, Item] | None:
        """The waiver put or deleted, on condition that what was stored before still is: its bytes, since an older form
        of them may not be what is made of it today. None where that is another than `former`."""
        place = key(s.WAIVER, change.subject.id)
        stored = self._dynamo.get(place)
        if (None if stored is None else _read(stored)) != change.former:
            return None
        condition = still(s.BODY, stored and stored[s.BODY])
        if change.waiver is None:
            return "Delete", {"Key": place, **condition}
        return "Put", {"Item": place | {s.BODY: {"B": msgspec.json.encode(change.waiver)}}, **condition}


def _read(item: Item) -> Waiver:
    return msgspec.json.decode(item[s.BODY]["B"], type=Waiver)


def _change_item(change: WaiverChange) -> Item:
    return key(s.WAIVER_CHANGE, _version_sk(change.version)) | {s.BODY: {"B": msgspec.json.encode(change)}}


def _version_sk(version: int) -> str:
    return f"{version:010d}"
