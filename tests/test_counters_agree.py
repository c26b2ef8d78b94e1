"""The bench's counter and a second implementation of it, a proxy of its own, price the same work alike."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from bench.count import Count
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Finding, FindingsDocument, Severity
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.errors import ConflictError

PROXY = Path(__file__).parents[2] / "shared/bench/count_proxy.py"
pytestmark = pytest.mark.skipif(not PROXY.is_file(), reason="bench tools absent: ../shared/bench")
RECORDS = 3
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "us-east-1", "team/api", "sha256:" + "a" * 64)


@pytest.fixture
def moto_port():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def proxy_url(moto_port):
    command = [sys.executable, str(PROXY), "--port", "0", "--target", str(moto_port), "--max-seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        banner = proxy.stdout.readline()
        yield banner.split(" ")[2]
        proxy.terminate()


def stats(url, path="stats"):
    with urllib.request.urlopen(f"{url}/{path}", timeout=10) as answer:
        return json.load(answer)


def finding(number):
    return Finding(
        f"CVE-2026-{number:04}",
        Severity.HIGH,
        "HIGH",
        Source.ENHANCED,
        f"arn:aws:inspector2:us-east-1:111122223333:finding/{number:032x}",
        vulnerability_source="NVD",
        description="word " * number,
        updated_at=NOW,
    )


def work(table):
    """Each kind of write the table knows, what a lost condition costs, and the reads between them."""
    table.mark_refresh(REF, 0, NOW)
    with pytest.raises(ConflictError):
        table.put_header(Header(ref=REF))
    header = table.read_headers([REF])[REF].header
    header = table.put_header(Header(ref=REF, version=header.version, exists=True, pushed_at=NOW, due_at=NOW))
    found = tuple(finding(n) for n in range(1, 120))
    table.store_vulnerabilities(found)
    document = table.put_document(FindingsDocument(REF, findings=found), FindingsDocument(REF))
    table.put_document(document, table.read_document(REF))
    table.put_header(Header(ref=REF, version=header.version, exists=True, counts=(0, 9, 0, 0, 0, 0), refreshed_at=NOW))
    for n in range(RECORDS):
        table.move_tag(REF.home, "latest", f"sha256:{n:064x}", NOW + timedelta(seconds=n))
        table.record_action(ActionRecord(REF, f"ALERT#{n}/slack", NOW, "ALERT", "system", "announced", NOW))
    table.record_action(ActionRecord(REF, "ALERT#0/slack", NOW, "ALERT", "system", "announced", NOW))
    table.store_kev({"CVE-2026-0001": True}, NOW)
    table.store_repository(REF.home, {"scan_frequency": "CONTINUOUS_SCAN"})
    assert list(table.due(0xAA % 8, NOW)) == []
    assert len(list(table.headers_of(REF.home))) == 1


def test_both_counters_price_the_same_work_alike(proxy_url, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    client = boto3.client("dynamodb", region_name="us-east-1", endpoint_url=proxy_url)
    create_table(client, "t")
    stats(proxy_url, "reset")
    with Count("us-east-1") as ours:
        work(FindingsTable(Dynamo(client, "t"), lambda: NOW))
    theirs = stats(proxy_url)
    # The other one doubles the index entry of a record in a transaction too; AWS does not (`bench/count.py`).
    assert ours.wru + RECORDS == theirs["dynamodb"]["wru"] > 100
    assert ours.rru == theirs["dynamodb"]["rru"] > 10
    assert ours.refused == theirs["dynamodb"]["failed_conditions"] > 0
    assert ours.calls_of("dynamodb") == theirs["calls_total"]
