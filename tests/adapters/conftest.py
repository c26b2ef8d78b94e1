"""One local AWS for a module of tests that need ECR itself, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.local import samples
from tests.local.running import local_aws

if TYPE_CHECKING:
    from chalicelib.local.ecr.ecr import LocalEcr


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def ecr(running: Any) -> LocalEcr:
    from chalicelib.local.ecr.ecr import ecr_of

    backend = ecr_of(samples.ref().home)
    backend.repositories.clear()
    return backend
