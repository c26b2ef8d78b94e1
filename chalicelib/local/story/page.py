"""How a story is written down: steps of beats, each with events, typed commands, alerts, observations and expectations.

Which story is played is in `story.py`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from chalicelib.local.aws.catcher import Caught
from chalicelib.local.story.world import Observed, StoryWorld, Typed


class StoryCheck(msgspec.Struct, frozen=True):
    """`expected` in words, and whether it came true."""

    expected: str
    ok: bool


class Beat(msgspec.Struct, frozen=True):
    """An event, the commands typed after it, the alerts sent (`told`), and what was observed (`seen`; None: nothing).
    `shown`: the text of a file."""

    happened: str
    shown: str = ""
    commands: tuple[Typed, ...] = ()
    told: tuple[Caught, ...] = ()
    seen: Observed | None = None
    checks: tuple[StoryCheck, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """`at`: its end by the clock of the story."""

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
    """What a scene writes down while it is played. `happens` begins a new beat."""

    def __init__(self, world: StoryWorld) -> None:
        self.world = world
        self.beats: list[Beat] = []
        self._sent = world.sent()

    def happens(self, sentence: str) -> None:
        self.beats.append(Beat(sentence))

    def shows(self, text: str) -> None:
        self._write(shown=text)

    def types(self, *words: str) -> Any:
        """Returns the JSON of the command."""
        typed = self.world.type(*words)
        self._write(commands=(*self.beats[-1].commands, typed))
        return typed.answer

    def looks(self) -> Observed:
        """Observes the image when all messages are handled."""
        if not self.world.settle():
            self.expects("all that was on its way is handled within a minute", False)
        seen = self.world.look()
        self._write(seen=seen)
        self._add_alerts()
        return seen

    def expects(self, expected: str, ok: bool) -> None:
        self._write(checks=(*self.beats[-1].checks, StoryCheck(expected, ok)))

    def sent(self, words: str, *channels: str) -> bool:
        """Whether each of these channels got an alert with these words in this beat."""
        alerts = ((caught.channel, "\n".join(caught.lines)) for caught in self.beats[-1].told)
        return set(channels) <= {channel for channel, text in alerts if words in text}

    def _add_alerts(self) -> None:
        before, self._sent = self._sent, self.world.sent()
        news = [one for channel, alerts in self._sent.items() for one in alerts[len(before[channel]) :]]
        self._write(told=(*self.beats[-1].told, *news))

    def _write(self, **what: Any) -> None:
        self.beats[-1] = msgspec.structs.replace(self.beats[-1], **what)
