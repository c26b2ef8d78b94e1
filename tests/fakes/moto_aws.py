"""moto's AWS in memory, imported by the tests that need it when they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.quick_aws import quick_moto


@contextmanager
def mock_aws() -> Iterator[None]:
    quick_moto()
    import moto

    with moto.mock_aws():
        yield
