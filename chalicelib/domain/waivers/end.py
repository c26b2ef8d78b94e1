"""What the end of a waiver came to: the images whose verdict it turned, in words for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import summary_words, titled
from chalicelib.domain.enforcement.act_words import outcome_words
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import PendingAction
from chalicelib.domain.images.image_name import console_url
from chalicelib.domain.images.verdict import Decision

NAMED = 5
SETTLED_AFTER = timedelta(minutes=2)
"""By then an act is done or held, and the indexes of an image are decided: one summary tells of all of it."""


class Turned(msgspec.Struct, frozen=True):
    """An image whose verdict the end of waivers turned, and the alert that their summary is to tell."""

    header: Header
    alert: PendingAction

    @property
    def line(self) -> str:
        header = self.header
        return (
            f"{header.decision} {titled(header.ref, header.tags)} ({header.ref}): {summary_words(header.known_counts)}"
        )

    @property
    def link(self) -> tuple[str, str]:
        """Label and URL: its findings in the AWS console."""
        return titled(self.header.ref, self.header.tags), console_url(self.header.ref, self.header.scan.source)


class WaiverEnd(msgspec.Struct, frozen=True):
    """`left`: images that are not decided again yet. `whole`: all images were looked at."""

    turned: tuple[Turned, ...] = ()
    left: int = 0
    whole: bool = True

    def settled(self, now: datetime) -> bool:
        """Whether there is nothing to wait for."""
        return not self.left and all(t.alert.wanted_at + SETTLED_AFTER <= now for t in self.turned)

    @property
    def worst(self) -> Sequence[Turned]:
        return sorted(self.turned, key=_badness)[:NAMED]

    @property
    def lines(self) -> tuple[str, ...]:
        """How many images have which decision by now, and the worst of them."""
        counted = Counter(t.header.decision for t in self.turned)
        kinds = [f"{d}: {counted[d]}" for d in reversed(Decision) if counted[d]]
        rest = len(self.turned) - len(self.worst)
        return (
            *([f"Turned by its end alone: {', '.join(kinds)}."] if kinds else []),
            *(t.line for t in self.worst),
            *([f"and {rest} more"] if rest else []),
            *([f"{_images(self.left)} not decided again yet: told image by image."] if self.left else []),
            *([] if self.whole else ["There are more images to look at: another summary tells of those."]),
        )

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What was done in the registry, and what was left alone."""
        return outcome_words(t.header for t in self.turned)


def _images(number: int) -> str:
    return f"{number} image{' is' if number == 1 else 's are'}"


def _badness(turned: Turned) -> tuple[object, ...]:
    header = turned.header
    return (-header.decision.rank, tuple(-n for n in header.known_counts or ()), header.ref)
