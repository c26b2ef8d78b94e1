"""One local AWS for a module of tests that need ECR itself, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from tests.local import samples
from tests.local.running import local_aws


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def ecr(running: Any) -> LocalEcr:
    backend = ecr_of(samples.ref().home)
    backend.repositories.clear()
    return backend
