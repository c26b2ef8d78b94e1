"""Acts on multi-arch images: an image whose index is archived is archived as well, and is given back with it."""

from __future__ import annotations

import pytest

from chalicelib.domain.images.image import ImageRef
from tests.services.assessment.test_record_push import scan
from tests.services.assessment.test_write_header import (
    ACTIVE,
    AMD64,
    ARCHIVED,
    ARM64,
    CRITICAL,
    INDEX_OF_BOTH,
    Fleet,
)


@pytest.mark.parametrize("child", [AMD64, ARM64], ids=["pushed again", "found to be as bad"])
def test_an_image_beside_an_archived_index_is_archived_and_given_back_with_it(child: ImageRef) -> None:
    story = Fleet()
    if child == AMD64:
        story.amd64.change(storage=ACTIVE)
        story.push(1, 4_000)
        scan(story, 1, CRITICAL)
    else:
        story.receive(story.images[ARM64].flaw(1, severity=CRITICAL))
    story.wait()
    assert (story.images[child].current.storage, story.storage[2]) == (ARCHIVED, ARCHIVED)
    assert story.header(child).hold is not None
    story.release(INDEX_OF_BOTH)
    assert {story.header(image).hold for image in (AMD64, ARM64, INDEX_OF_BOTH)} == {None}
