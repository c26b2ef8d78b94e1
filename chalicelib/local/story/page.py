"""How a story is written down: steps of beats, each with what happened, what was typed, told, seen and expected.

Which story it is, is `story.py`'s business.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from chalicelib.local.aws.catcher import Caught
from chalicelib.local.story.world import Observed, StoryWorld, Typed


class StoryCheck(msgspec.Struct, frozen=True):
    """`expected` in words, and whether it was so."""

    expected: str
    ok: bool


class Beat(msgspec.Struct, frozen=True):
    """Something happens; then commands are typed, people are told (`told`: what Slack and SNS were sent), and it is
    looked whether all is as expected. `seen` is what stands then; None where nobody looked. `shown`: a file in use."""

    happened: str
    shown: str = ""
    commands: tuple[Typed, ...] = ()
    told: tuple[Caught, ...] = ()
    seen: Observed | None = None
    checks: tuple[StoryCheck, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """`at`: when it ended, by the clock of the story."""

    number: int
    title: str
    at: datetime
    beats: tuple[Beat, ...]

    @property
    def checks(self) -> tuple[StoryCheck, ...]:
        return tuple(check for beat in self.beats for check in beat.checks)

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


class StoryPage:
    """What a scene writes down while it is played: each thing that happens begins a new beat."""

    def __init__(self, world: StoryWorld) -> None:
        self.world = world
        self.beats: list[Beat] = []
        self._told = world.told()

    def happens(self, sentence: str) -> None:
        self.beats.append(Beat(sentence))

    def shows(self, text: str) -> None:
        self._write(shown=text)

    def types(self, *words: str) -> Any:
        """What the command answered."""
        typed = self.world.type(*words)
        self._write(commands=(*self.beats[-1].commands, typed))
        return typed.answer

    def looks(self) -> Observed:
        """Once all that was on its way is done."""
        if not self.world.settle():
            self.expects("all that was on its way is handled within a minute", False)
        seen = self.world.look()
        self._write(seen=seen)
        self._hear()
        return seen

    def expects(self, expected: str, ok: bool) -> None:
        self._write(checks=(*self.beats[-1].checks, StoryCheck(expected, ok)))

    def hears(self, words: str, *channels: str) -> bool:
        """Whether each of these channels was sent a message with the words in it, in this beat."""
        told = self.beats[-1].told
        return all(any(c.channel == channel and words in "\n".join(c.lines) for c in told) for channel in channels)

    def _hear(self) -> None:
        told = self.world.told()
        news = tuple(
            caught for channel, caught_all in told.items() for caught in caught_all[len(self._told[channel]) :]
        )
        self._told = told
        self._write(told=(*self.beats[-1].told, *news))

    def _write(self, **what: Any) -> None:
        self.beats[-1] = msgspec.structs.replace(self.beats[-1], **what)
