"""moto's AWS in memory, imported by the tests that need it when they run.

Its DynamoDB is the local stack's, which answers as moto's does (`tests/local/aws/test_dynamo.py`) and is quick on a
table that grows: moto's own copies all of it for each transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from tests.quick_aws import quick_moto


@contextmanager
def mock_aws() -> Iterator[None]:
    quick_moto()
    import moto
    from moto.core import responses
    from moto.dynamodb.models import dynamodb_backends

    from chalicelib.local.aws.dynamo import LocalDynamo, QuickPicker

    with moto.mock_aws():
        former = dynamodb_backends.backend
        dynamodb_backends.clear()
        dynamodb_backends.backend = LocalDynamo
        try:
            with patch.object(responses, "XFormedAttributePicker", QuickPicker):
                yield
        finally:
            dynamodb_backends.clear()
            dynamodb_backends.backend = former
