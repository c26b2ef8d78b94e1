"""The API as its own document describes it: hundreds of requests, right and wrong, none of them answered otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from chalice.app import Chalice
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from chalicelib.api import routes
from tests.fakes.api_server import served
from tests.fakes.images import fill
from tests.fakes.queries import FakeHouse

# `positive_data_acceptance` is left out: only a signed cursor is right, and of digest and tag only one may be given.
# The local stack is open on purpose: signatures are API Gateway's to check, before we are asked.
DOCUMENT = {**routes.document(), "security": []}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


schema = schemathesis.openapi.from_dict(DOCUMENT)


@pytest.fixture
def base_url(app: Chalice, context: FakeHouse) -> Iterator[str]:
    fill(context)
    with served(app) as url:
        yield url


@schema.parametrize()
@hypothesis.settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case, base_url: str) -> None:
    case.call_and_validate(base_url=base_url, checks=CHECKS)
