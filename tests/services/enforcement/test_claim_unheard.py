"""A tag that was pushed and taken away before anybody heard of the push: whose it is when all is given back."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.enforcement.enforcement import marker
from chalicelib.services.enforcement.give_order import release_image
from tests.services.aws_model import Image
from tests.services.enforcement.test_enforce_verdict import CRITICAL, Acting
from tests.services.world import new_ref


def other(story: Acting) -> Image:
    """Another image of the repository, without a tag."""
    image = story.add(story.ref.home.image(new_ref().digest))
    story.receive(image.action("PUSH"), image.scanned())
    story.drain()
    return image


def push_unheard(story: Acting, image: Image, tag: str) -> None:
    story.moment += timedelta(minutes=5)
    for one in story.images.values():
        one.change(tags=tuple(t for t in one.current.tags if t != tag))
    image.change(tags=(*image.current.tags, tag))


def untag(story: Acting, image: Image) -> None:
    story.receive(image.flaw(1, severity=CRITICAL))
    story.drain()
    assert image.current.tags == (marker(image.ref.digest),)


def release(story: Acting, image: Image) -> None:
    release_image(image.ref, "oncall", "needed", story)
    story.wait_for(minutes=5)


def test_a_tag_that_went_on_unheard_and_was_taken_from_the_next_image_is_given_back_to_that_one() -> None:
    story = Acting(quarantine={"method": "untag"})
    untag(story, story.one)
    later = other(story)
    push_unheard(story, later, "v1")
    untag(story, later)
    release(story, story.one)
    assert "v1" not in story.one.current.tags
    release(story, later)
    assert later.current.tags == ("v1",)


def test_the_image_that_had_the_tag_before_is_known_to_have_lost_it() -> None:
    """Heard of at last, the push moves nothing any more."""
    story = Acting(quarantine={"method": "untag"})
    later = other(story)
    push_unheard(story, later, "v1")
    pushed = later.action("PUSH", tag="v1")
    assert story.head.tags == ("v1",)
    untag(story, later)
    assert story.head.tags == ()
    story.receive(pushed)
    story.drain()
    assert (story.head.tags, story.header(later.ref).tags) == ((), (marker(later.ref.digest),))


def test_a_push_of_the_tag_in_the_second_in_which_it_was_read_counts_as_later() -> None:
    story = Acting(quarantine={"method": "untag"})
    untag(story, story.one)
    later, last = other(story), other(story)
    push_unheard(story, later, "v1")
    story.receive(later.flaw(1, severity=CRITICAL))
    pushed = last.action("PUSH", tag="v1")
    story.drain()
    last.change(tags=("v1",))
    story.receive(pushed)
    story.drain()
    assert story.header(last.ref).tags == ("v1",)
    for image in (story.one, later):
        release(story, image)
    assert last.current.tags == ("v1",)
