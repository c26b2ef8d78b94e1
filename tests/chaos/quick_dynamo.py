"""The local stack's DynamoDB within `mock_aws`: quick enough for tens of thousands of calls on a table that grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def quick_dynamo() -> Iterator[None]:
    """Before any table is made."""
    from moto.core import responses
    from moto.dynamodb.models import dynamodb_backends

    from chalicelib.local.aws.dynamo import LocalDynamo, QuickPicker

    former = dynamodb_backends.backend
    dynamodb_backends.clear()
    dynamodb_backends.backend = LocalDynamo
    try:
        with patch.object(responses, "XFormedAttributePicker", QuickPicker):
            yield
    finally:
        dynamodb_backends.clear()
        dynamodb_backends.backend = former
