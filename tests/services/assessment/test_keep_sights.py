"""What events show is kept with their repository, and is never the reason that a message fails."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib.domain.events.event import Action, ImageAction
from chalicelib.errors import TransientError
from chalicelib.services.handlers.receive_batch import receive_batch
from tests.services.context import Story
from tests.services.world import START


@pytest.fixture
def story():
    return Story()


def failed(story, n):
    return story.delivery(ImageAction(story.ref, Action.PUSH, "FAILURE", START, f"event-{n}"))


def test_what_an_event_shows_is_a_fact_of_its_repository(story):
    large = msgspec.structs.replace(failed(story, 1), size_bytes=70_000)
    assert not receive_batch([large, failed(story, 2)], story)
    seen = {name for name in story.stored.repositories[story.ref.home] if name.startswith("seen_")}
    assert seen == {"seen_image_result__FAILURE_", "seen_event_size__ImageAction_64_"}


def test_a_table_that_refuses_it_stops_no_message(story, monkeypatch):
    def throttled(home, names):
        raise TransientError("slow down")

    monkeypatch.setattr(story.stored, "keep_sights", throttled)
    assert not receive_batch([failed(story, 1)], story)
    story.receive(story.one.action("PUSH", tag="v9"))
    assert story.stored.read_tag(story.ref.home, "v9") == story.ref.digest


def test_what_shows_nothing_asks_the_table_for_nothing(story, monkeypatch):
    monkeypatch.setattr(story.stored, "keep_sights", lambda home, names: pytest.fail("asked"))
    story.receive(story.one.action("PUSH", tag="v9"), story.one.scanned())
