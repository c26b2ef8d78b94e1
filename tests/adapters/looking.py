"""One look at one account, for the tests of each kind of place."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib.adapters.usage.runtime import AwsRuntime
from chalicelib.domain.images.image import InUse, Repository
from chalicelib.services.ports.registry import Subject
from tests.fakes.estate import ACCOUNT, HOME, REPOSITORY, Estate

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
IMAGE, OTHER, INDEX = "sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "c" * 64
PLACE = Repository(ACCOUNT, HOME, REPOSITORY)


def use_of(estate: Estate, digest: str = IMAGE, *tags: str) -> InUse:
    subject = Subject(PLACE.image(digest), frozenset({digest}), frozenset(tags))
    return AwsRuntime(estate.client, lambda: NOW, pause=lambda _: None).in_use(subject)
