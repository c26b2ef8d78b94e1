"""The fuse: how many images may be made impossible to pull within an hour, by all workers together; and the brake: how
many may be given back because a verdict, and no person, says so. Both count alike, and each has its alerts.

It blows when one act too many is asked for: nothing more passes until an hour is over or a person resets it. Of one
repository no more than a quarter of the limit passes; what is more waits, and blows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.image import ImageRef

WINDOW = timedelta(hours=1, seconds=90)
"""An hour, and the time an act that may pass has to be done: so that within no hour more are done."""
MOST_WAITING = 1_000
MOST_OVER_SHARE = 200
REMEMBERED = 120
"""One order, and its undo, is about a hundred images and more."""
EXPECTED_FOR = timedelta(days=1)
"""A policy may take hours until it has reached every image of a large registry."""


class FuseSlot(msgspec.Struct, frozen=True):
    """One act that passed, or that waits for its repository's share; `key` is image and effect, `images` how many it
    takes out of reach: a Deny all of its repository."""

    key: str
    at: datetime
    images: int = 1


def _image(key: str) -> str:
    return key.partition(" ")[0]


def _repository(key: str) -> str:
    return key.partition("@")[0]


class Expected(msgspec.Struct, frozen=True):
    """`left` of the images that a person has seen counted in a plan: until `until` so many more pass uncounted. `plan`:
    the policy, or the waiver by its id; it has one count at a time."""

    left: int
    until: datetime
    plan: str = ""


def share_of(limit: int) -> int:
    """What one repository may have of the limit."""
    return max(1, limit // 4)


class Fuse(msgspec.Struct, frozen=True):
    """`taken`: what passed within the last hour, oldest first. `blown_at`: since when nothing passes; `announced`:
    people were alerted to that. `waiting`: what was refused since, the first thousand; `reset_at`, `reset_by`: the last
    reset. `over_share`: what waits because its repository has had its share. `expected`: what people have counted;
    `uncounted`: the last that passed by it, or by a person's order, which pass again."""

    taken: tuple[FuseSlot, ...] = ()
    blown_at: datetime | None = None
    announced: bool = msgspec.field(default=False, name="told")
    waiting: tuple[str, ...] = ()
    reset_at: datetime | None = None
    reset_by: str | None = None
    over_share: tuple[FuseSlot, ...] = ()
    expected: tuple[Expected, ...] = ()
    uncounted: tuple[FuseSlot, ...] = ()

    @property
    def images(self) -> int:
        return sum(slot.images for slot in self.taken)

    @property
    def waiting_keys(self) -> tuple[str, ...]:
        """All that waits, whatever for."""
        return tuple(dict.fromkeys((*self.waiting, *(slot.key for slot in self.over_share))))

    @property
    def left(self) -> int:
        """How many that people have counted may still pass."""
        return sum(one.left for one in self.expected)

    def as_of(self, now: datetime) -> Fuse:
        """Without what is over."""
        fuse = msgspec.structs.replace(
            self,
            taken=tuple(t for t in self.taken if t.at > now - WINDOW),
            over_share=tuple(t for t in self.over_share if t.at > now - WINDOW),
            uncounted=tuple(t for t in self.uncounted if t.at > now - WINDOW),
            expected=tuple(e for e in self.expected if e.until > now and e.left > 0),
        )
        if self.blown_at is not None and self.blown_at <= now - WINDOW:
            return msgspec.structs.replace(fuse, blown_at=None, announced=False, waiting=())
        return fuse

    def take(self, key: str, limit: int, now: datetime, images: int = 1) -> tuple[Fuse, bool]:
        """The fuse afterwards, and whether the act may pass. An image passes again, by whatever act, and counts from
        now: it may be this time only that the act is done. Not where the limit was lowered since."""
        fuse, image = self.as_of(now), _image(key)
        if any(_image(t.key) == image for t in fuse.uncounted):
            return fuse, True
        if fuse.expected:
            return fuse._spend(FuseSlot(key, now, images)), True
        former = next((t.images for t in fuse.taken if _image(t.key) == image), 0)
        slot = FuseSlot(key, now, max(images, former))
        others = tuple(t for t in fuse.taken if _image(t.key) != image)
        fits = slot.images + sum(t.images for t in others) <= limit
        again = slot.images == former
        if not again and fuse.blown_at is None and not fuse._has_share(slot, others, limit):
            return fuse._wait_for_share(slot), False
        if fits and (again or fuse.blown_at is None):
            return msgspec.structs.replace(fuse._without(image), taken=(*others, slot)), True
        waiting = fuse.waiting if key in fuse.waiting or len(fuse.waiting) >= MOST_WAITING else (*fuse.waiting, key)
        return msgspec.structs.replace(fuse, blown_at=fuse.blown_at or now, waiting=waiting), False

    def _spend(self, slot: FuseSlot) -> Fuse:
        first = msgspec.structs.replace(self.expected[0], left=self.expected[0].left - 1)
        return msgspec.structs.replace(
            self._without(_image(slot.key)),
            expected=(*([first] if first.left else []), *self.expected[1:]),
            uncounted=(*self.uncounted, slot)[-REMEMBERED:],
        )

    def _without(self, image: str) -> Fuse:
        """It waits no more."""
        return msgspec.structs.replace(
            self,
            waiting=tuple(key for key in self.waiting if _image(key) != image),
            over_share=tuple(t for t in self.over_share if _image(t.key) != image),
        )

    def _has_share(self, slot: FuseSlot, others: Sequence[FuseSlot], limit: int) -> bool:
        """For an hour after a reset a person has looked at it."""
        if self.reset_at is not None and self.reset_at > slot.at - WINDOW:
            return True
        mine = sum(t.images for t in others if _repository(t.key) == _repository(slot.key))
        return mine + slot.images <= share_of(limit)

    def _wait_for_share(self, slot: FuseSlot) -> Fuse:
        """One that is refused again, an hour later, goes on waiting from then on."""
        former = next((t for t in self.over_share if t.key == slot.key), None)
        if former is not None:
            if slot.at - former.at < WINDOW / 2:
                return self
            waiting = tuple(slot if t is former else t for t in self.over_share)
        elif len(self.over_share) >= MOST_OVER_SHARE:
            return self
        else:
            waiting = (*self.over_share, slot)
        return msgspec.structs.replace(self, over_share=waiting)

    def first_over_share(self, key: str) -> FuseSlot | None:
        """The first of its repository that waits for the share: by it people are told."""
        return next((t for t in self.over_share if _repository(t.key) == _repository(key)), None)

    def reset(self, by: str, now: datetime) -> Fuse:
        """Whole again, counting from nothing."""
        return Fuse(reset_at=now, reset_by=by, expected=self.expected)

    def let(self, image: str, now: datetime) -> Fuse:
        """A person has ordered what gives the image back."""
        fuse = self.as_of(now)
        return msgspec.structs.replace(fuse, uncounted=(*fuse.uncounted, FuseSlot(image, now))[-REMEMBERED:])

    def expect(self, images: int, plan: str, now: datetime) -> Fuse:
        """A person has seen so many counted in the plan; what was counted in it before is over."""
        fuse = self.as_of(now)
        counted = (Expected(images, now + EXPECTED_FOR, plan),) if images else ()
        others = (one for one in fuse.expected if one.plan != plan)
        return msgspec.structs.replace(fuse, expected=(*others, *counted))

    def until(self, now: datetime, key: str = "") -> datetime:
        """When what waits may pass by itself: the blown fuse is whole, or some of the repository's share is free."""
        if self.blown_at is not None:
            return self.blown_at + WINDOW
        mine = (t.at for t in self.taken if _repository(t.key) == _repository(key))
        return min(mine, default=now) + WINDOW


FUSE = "fuse"


def compose_fuse_alert(fuse: Fuse, limit: int, now: datetime, *, releases: bool = False) -> Alert:
    """`releases`: it is the one of what is given back."""
    until = f"{fuse.until(now):%Y-%m-%d %H:%M:%S} UTC"
    if releases:
        return Alert(
            event=FUSE,
            title=f"Releases held: more than {limit} images in an hour",
            at=now,
            notes=(
                f"{fuse.images} images were released within an hour because verdicts changed, and more were to follow.",
                f"Nothing more is released before {until}, but what a person orders. What waits is QUARANTINE at every "
                "door.",
            ),
            what_to_do=(
                "See what is held, and why it was to be released: lazaretto fuse show",
                "If it is right: lazaretto fuse reset --releases --reason 'checked'",
                "If it is not: correct the policy first (lazaretto policy what-if, lazaretto policy apply).",
            ),
        )
    return Alert(
        event=FUSE,
        title=f"Fuse blown: more than {limit} images in an hour",
        at=now,
        notes=(
            f"{fuse.images} images were blocked or quarantined within an hour, and more were to follow.",
            f"Nothing more is blocked or quarantined before {until}. Verdicts, gates, alerts and "
            "releases go on; what waits is done by itself then.",
        ),
        what_to_do=(
            "See whether the verdicts are right: lazaretto findings --min-severity HIGH",
            "If they are: lazaretto fuse reset --reason 'checked'",
            "If they are not: correct the policy first (lazaretto policy what-if, lazaretto policy apply).",
        ),
    )


def compose_share_alert(ref: ImageRef, limit: int, until: datetime, now: datetime, *, releases: bool) -> Alert:
    """One repository has had what it may have of the limit."""
    what, flag = ("released", " --releases") if releases else ("blocked or quarantined", "")
    section = "release" if releases else "quarantine"
    return Alert(
        event=FUSE,
        title=f"Fuse: {ref.repository} has had its share of an hour",
        at=now,
        repository=ref.repository,
        notes=(
            f"One repository has at most {share_of(limit)} images {what} within an hour: a quarter of "
            f"`{section}.max_per_hour` ({limit}).",
            f"More of {ref.home.path} waits until {until:%Y-%m-%d %H:%M:%S} UTC; other repositories go on.",
        ),
        what_to_do=(f"If all of it is right: lazaretto fuse reset{flag} --reason 'checked'",),
    )


def compose_waiting_deny_alert(ref: ImageRef, words: str, now: datetime) -> Alert:
    """A Deny that is never put without a person."""
    return Alert(
        event=FUSE,
        title=f"Deny of {ref.repository} waits for an order",
        at=now,
        repository=ref.repository,
        notes=(f"{ref}: {words}.",),
        what_to_do=(f"To have all of it denied: lazaretto quarantine {ref} --reason WHY",),
    )
