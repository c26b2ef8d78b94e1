"""A table as a version of Lazaretto has left it, and what that version answered about it.

A sample is two files named by the version: `VERSION.table.jsonl.gz`, a line of JSON for each item in DynamoDB's own
types, sorted by key, and `VERSION.answers.json.gz`: when they were given, by each question (a path of the API) its
status and body, and what the table's headers, documents and changes of waivers were read as, field by field. They are
compressed without a time, so that the same content is the same file. A sample is never changed: it is the past.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import msgspec
from chalice.test import Client

from chalicelib.adapters.dynamodb.schema import DOCUMENT, PK, SK, Item
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.story.world import HURRY_SECONDS
from tests.fakes.iam import ACCOUNT_ROLES, REPLICA_ACCOUNT, REPLICA_REGION
from tests.local.running import local_stack

SAMPLES = Path(__file__).parent / "samples"
MOST_PUTS = 25
"""Of one BatchWriteItem."""
ELSEWHERE = (RegistryPlace(REPLICA_REGION), RegistryPlace(REGION, REPLICA_ACCOUNT))


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: Any


class Sample(msgspec.Struct, frozen=True):
    """`at`: when the answers were given. `stored`: what items were read as, by their keys, in plain values."""

    version: str
    at: datetime
    items: tuple[Item, ...]
    answers: dict[str, Answer]
    stored: dict[str, Any]


def versions() -> list[str]:
    return sorted(path.name.removesuffix(".table.jsonl.gz") for path in SAMPLES.glob("*.table.jsonl.gz"))


def read_sample(version: str) -> Sample:
    lines = gzip.decompress((SAMPLES / f"{version}.table.jsonl.gz").read_bytes()).decode().splitlines()
    told = json.loads(gzip.decompress((SAMPLES / f"{version}.answers.json.gz").read_bytes()))
    answers = {url: Answer(status, body) for url, (status, body) in told["answers"].items()}
    items = tuple(_typed(json.loads(line)) for line in lines)
    return Sample(version, datetime.fromisoformat(told["at"]), items, answers, told["stored"])


def write_sample(sample: Sample) -> None:
    """Raises FileExistsError: the past is not written again."""
    items = sorted(sample.items, key=lambda item: (item[PK]["S"], item[SK]["S"]))
    lines = "".join(f"{json.dumps(_plain(item), sort_keys=True, separators=(',', ':'))}\n" for item in items)
    answers = {url: (answer.status, answer.body) for url, answer in sample.answers.items()}
    told = {"at": sample.at.isoformat(), "answers": answers, "stored": sample.stored}
    said = json.dumps(told, sort_keys=True, separators=(",", ":"))
    for name, text in (("table.jsonl", lines), ("answers.json", said)):
        with (SAMPLES / f"{sample.version}.{name}.gz").open("xb") as file:
            file.write(gzip.compress(text.encode(), mtime=0))


@contextmanager
def stack_with(items: Iterable[Item], at: datetime) -> Iterator[LocalStack]:
    """The code of today over that table at that time. The same registries are watched; ECR and Inspector are empty."""
    with local_stack(hurry=HURRY_SECONDS) as stack:
        stack.clock.move_to(at)
        stack.context.settings = msgspec.structs.replace(
            stack.context.settings, registries=ELSEWHERE, account_roles=ACCOUNT_ROLES
        )
        client, puts = boto3.client("dynamodb", region_name=REGION), [{"PutRequest": {"Item": item}} for item in items]
        for start in range(0, len(puts), MOST_PUTS):
            said = client.batch_write_item(RequestItems={stack.template.table: puts[start : start + MOST_PUTS]})
            assert not said["UnprocessedItems"]
        yield stack


def dump(stack: LocalStack) -> tuple[Item, ...]:
    client = boto3.client("dynamodb", region_name=REGION)
    pages = client.get_paginator("scan").paginate(TableName=stack.template.table, ConsistentRead=True)
    return tuple(item for page in pages for item in page["Items"])


def ask(stack: LocalStack, url: str) -> Answer:
    with Client(stack.app) as client:
        answer = client.http.request("GET", url)
    return Answer(answer.status_code, answer.json_body)


def read_stored(stack: LocalStack, items: Iterable[Item]) -> dict[str, Any]:
    """As services see them."""
    table, kept = stack.context.table, list(items)
    headers = stack.headers(images_of(kept))
    found: dict[str, Any] = {f"header {ref.path}": stored.header for ref, stored in headers.items()}
    for ref in documents_of(kept):
        found[f"document {ref.path}"] = table.read_document(ref)
    for change in stack.context.waivers.changes():
        found[f"change {change.version} of the waivers"] = change
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return plain


def documents_of(items: Iterable[Item]) -> list[ImageRef]:
    return [ImageRef.from_path(item[PK]["S"].removeprefix("IMAGE#")) for item in items if item[SK]["S"] == DOCUMENT]


def images_of(items: Iterable[Item]) -> list[ImageRef]:
    """Whose headers are there."""
    return [
        ImageRef.from_path(f"{item[PK]['S'].removeprefix('REPO#')}@{item[SK]['S'].removeprefix('IMAGE#')}")
        for item in items
        if item[SK]["S"].startswith("IMAGE#")
    ]


def _plain(value: Any) -> Any:
    """Bytes as base64 under DynamoDB's own name for them."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _typed(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"B"}:
            return {"B": base64.b64decode(value["B"])}
        if value.keys() == {"BS"}:
            return {"BS": [base64.b64decode(part) for part in value["BS"]]}
        return {key: _typed(part) for key, part in value.items()}
    return [_typed(part) for part in value] if isinstance(value, list) else value
