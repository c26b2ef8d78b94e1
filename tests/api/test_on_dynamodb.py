"""The same questions to the house in memory and to the real reads on DynamoDB: the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import msgspec
import pytest
from chalice.app import Chalice
from chalice.test import Client

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.images.finding import FindingsDocument, Severity
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from tests.api.conftest import Ask
from tests.fakes.api_server import move_in
from tests.fakes.images import finding, image
from tests.fakes.moto_aws import mock_aws
from tests.fakes.queries import NOW, FakeContext

TABLE = "lazaretto-api-test"
PRIVATE, PUBLIC = ("111122223333", "eu-west-1", "team/api"), ("public/acme", "us-east-1", "team/api")
WEB = ("111122223333", "eu-west-1", "team/web")
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/findings", {}),
    ("/v1/findings", {"limit": 7}),
    ("/v1/findings", {"severity": "CRITICAL", "limit": 3}),
    ("/v1/findings", {"vulnerability_id": "CVE-2026-0003", "limit": 4}),
    ("/v1/findings", {"vulnerability_id": "GHSA-0003", "sort": "-epss", "limit": 4}),
    ("/v1/findings", {"registry": "public/acme", "status": "SUPPRESSED,RESOLVED"}),
    ("/v1/findings", {"repository": "team/web", "tag": "t8", "sort": "first_seen", "limit": 1}),
    ("/v1/images", {"limit": 4}),
    ("/v1/images", {"limit": 4, "decision": "BLOCK"}),
    ("/v1/images", {"limit": 4, "registry": PRIVATE[0], "region": PRIVATE[1], "repository": PRIVATE[2]}),
    ("/v1/image", {"repository": "team/web", "tag": "t8"}),
    ("/v1/verdict", {"repository": "team/api", "registry": "public/acme", "tag": "t1"}),
    ("/v1/tags", {"repository": "team/web", "limit": 3}),
    ("/v1/vulnerabilities/CVE-2026-0003", {"limit": 5}),
    ("/v1/vulnerabilities/GHSA-0003", {"limit": 1000, "repository": "team/web"}),
    ("/v1/repositories", {"limit": 2}),
    ("/v1/dr", {"to": "eu-central-1", "limit": 5}),
    ("/v1/dr", {"to": "eu-central-1", "repository": "team/web", "cluster": "prod", "limit": 1000}),
    ("/v1/policy", {}),
    ("/v1/audit", {"limit": 7}),
    ("/v1/audit", {"limit": 2, "repository": "team/web", "kind": "BLOCK"}),
    ("/v1/audit", {"repository": "team/web", "tag": "t8"}),
    ("/v1/audit/verify", {"repository": "team/web", "tag": "t8"}),
]


@pytest.fixture(scope="module")
def stored() -> Iterator[tuple[FakeContext, FindingsTable, FindingsQueries]]:
    """One set of images in both, over all shards and three repositories, two of them of one name."""
    with mock_aws():
        client = boto3.client("dynamodb", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, TABLE)
        table = FindingsTable(Dynamo(client, TABLE, lambda _: None), lambda: NOW)
        fake = FakeContext()
        for number in range(48):
            _store(fake, table, number)
        yield fake, table, FindingsQueries(Dynamo(client, TABLE, lambda _: None))


def _store(fake: FakeContext, table: FindingsTable, number: int) -> None:
    registry, region, name = (PRIVATE, PUBLIC, WEB)[number % 3]
    ref = ImageRef(registry, region, name, f"sha256:{number * 5 % 256:02x}{number:062x}")
    found = tuple(
        finding(
            n,
            list(Severity)[n % 6],
            status=("OPEN", "SUPPRESSED", "RESOLVED")[n % 3 if n > 4 else 0],
            related_ids=(f"GHSA-{n:04}",),
        )
        for n in range(1, number % 9)
    )
    header = fake.queries.add(image(number, list(Decision)[number % 5], where=ref, tags=(f"t{number}",)), found)
    record = ActionRecord(ref, "BLOCK#1", NOW, "BLOCK", "lazaretto", "because", NOW)
    fake.queries.records[ref] = (record,)
    document = table.put_document(FindingsDocument(ref, 0, found), FindingsDocument(ref))
    table.put_header(msgspec.structs.replace(header, version=0, revision=document.revision))
    table.store_vulnerabilities(found)
    table.move_tag(ref.home, f"t{number}", ref.digest, NOW)
    facts: dict[str, Any] = {"scan_frequency": "MANUAL", "replication": {f"{registry}/eu-central-1": {"COMPLETE": 1}}}
    table.store_repository(ref.home, facts)
    table.record_action(record)
    fake.queries.homes[ref.home] = facts
    if number % 4:
        fake.runtime.run(ref)


def _walk(ask: Ask, path: str, query: dict[str, Any]) -> list[Any]:
    """All pages: the sum of their rows, without what is each store's own."""
    rows: list[Any] = []
    cursor = None
    for _ in range(200):
        body = ask(path, cursor=cursor, **query)
        cursor = body.pop("next_cursor", None)
        lists = [v for v in body.values() if isinstance(v, list)] if "limit" in query or cursor else [[body]]
        rows += _plain(lists[-1] if path.startswith("/v1/vuln") else lists[0])
        if cursor is None:
            return rows
    raise AssertionError("the list never ends")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k not in ("title", "databases", "taken_at", "kev_at")}
    return [_plain(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("path", "query"), QUESTIONS, ids=str)
def test_the_answers_are_alike(
    stored: tuple[FakeContext, FindingsTable, FindingsQueries],
    app: Chalice,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    query: dict[str, Any],
) -> None:
    fake, table, queries = stored
    move_in(monkeypatch, fake)
    expected = _walk(ask, path, query)
    real = FakeContext(queries)
    real.table, real.runtime = table, fake.runtime
    move_in(monkeypatch, real)
    assert expected
    assert _walk(ask, path, query) == expected


def test_the_summary_is_alike_and_kept(
    stored: tuple[FakeContext, FindingsTable, FindingsQueries], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, table, queries = stored
    move_in(monkeypatch, fake)
    expected = ask("/v1/summary")
    real = FakeContext(queries)
    real.table = table
    move_in(monkeypatch, real)
    assert ask("/v1/summary") == expected
    snapshot = queries.read_snapshot()
    assert snapshot is not None
    assert snapshot.at == NOW


def test_no_question_scans_the_table(
    stored: tuple[FakeContext, FindingsTable, FindingsQueries], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table, queries = stored
    called: list[str] = []
    events = queries._dynamo._client.meta.events
    events.register("before-call.dynamodb", lambda model, **_: called.append(model.name), unique_id="watch")
    real = FakeContext(queries)
    real.table = table
    move_in(monkeypatch, real)
    for path, query in QUESTIONS:
        client.http.get(path + "?" + "&".join(f"{k}={v}" for k, v in query.items()))
    events.unregister("before-call.dynamodb", unique_id="watch")
    assert called
    assert "Scan" not in called
