"""The API as its own document describes it: hundreds of requests, right and wrong, none of them answered otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from chalice.app import Chalice

from chalicelib.api import routes
from tests.extent import SEED, Extent
from tests.fakes.api_server import served
from tests.fakes.images import fill
from tests.fakes.queries import FakeContext

if TYPE_CHECKING:
    import schemathesis

# The local stack is open on purpose: signatures are API Gateway's to check, before we are asked.
DOCUMENT = {**routes.document(), "security": []}
OPERATIONS = [f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods]
RUNS = 60


@pytest.fixture
def base_url(app: Chalice, context: FakeContext) -> Iterator[str]:
    fill(context)
    with served(app) as url:
        yield url


@pytest.fixture(scope="module")
def operations() -> dict[str, Any]:
    """By method and path. Imported and read here: the requests of all 28 take seconds to make up, each for its test."""
    import schemathesis

    schema = schemathesis.openapi.from_dict(DOCUMENT)
    return {operation.label: operation for operation in (result.ok() for result in schema.get_all_operations())}


def checks() -> list[Any]:
    """`positive_data_acceptance` is left out: only a signed cursor is right, and of digest and tag only one may be
    given."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
        unsupported_method,
    )

    def wrong_data_is_refused(context: Any, response: Any, case: schemathesis.Case) -> bool | None:
        """An optional parameter of the query that became an empty list or object is not sent: where nothing else is
        wrong, the request is right."""
        left_out = {name for name, value in (case.query or {}).items() if value in ([], {})}
        optional = {parameter.name for parameter in case.operation.query if not parameter.is_required}
        wrong = made_wrong(case)
        return None if wrong and wrong <= left_out & optional else negative_data_rejection(context, response, case)

    return [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        wrong_data_is_refused,
        unsupported_method,
    ]


def made_wrong(case: schemathesis.Case) -> set[str]:
    """The parameters that schemathesis has changed."""
    data: Any = case.meta.phase.data if case.meta is not None else None
    if name := getattr(data, "parameter", None):
        return {name}
    return {mutation.parameter for mutation in getattr(data, "mutations", None) or () if mutation.parameter}


def test_every_operation_is_asked(operations: dict[str, Any]) -> None:
    assert sorted(operations) == sorted(OPERATIONS)


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_as_documented(label: str, operations: dict[str, Any], base_url: str, extent: Extent) -> None:
    """The examples of the document, and random requests beside them. Border cases are made up by Hypothesis too, for a
    second each operation: those of every fifth, or of all."""
    from schemathesis.checks import load_all_checks
    from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test

    load_all_checks()
    asked = checks()

    @hypothesis.settings(max_examples=extent.runs(RUNS), suppress_health_check=list(hypothesis.HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=base_url, checks=asked)

    operation = operations[label]
    left_out = set() if label in extent.calls(OPERATIONS) else {HypothesisTestMode.COVERAGE}
    modes = [mode for mode in HypothesisTestMode if mode not in left_out]
    config = HypothesisTestConfig(project=operation.schema.config, modes=modes, seed=SEED)
    create_test(operation=operation, test_func=ask, config=config)()
