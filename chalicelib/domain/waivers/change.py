"""A change or an end of a waiver: which images it may touch, which verdicts it turned, and words and commands for it.

Images are found by what the index shows of them, so a wrong yes is possible and costs one decision; a wrong no is not.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import summary_words, titled
from chalicelib.domain.enforcement.act_words import outcome_words
from chalicelib.domain.headers.header import Header, in_sketch
from chalicelib.domain.headers.pending_action import PendingAlert
from chalicelib.domain.images.names import console_url
from chalicelib.domain.images.text import sanitize, some_of
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import Waiver

GIVEN, CHANGED, ENDED = "given", "changed", "ended"
_SHOWN = 300


class Carried(msgspec.Struct, frozen=True):
    """The images a sweep came to, by decision: before the change, and when all were decided again."""

    before: dict[Decision, int]
    after: dict[Decision, int]


class WaiverChange(msgspec.Struct, frozen=True, kw_only=True):
    """`former` None: it was given; `waiver` None: it was ended. Both name the same, or it would be another waiver.

    `version` is the waivers' that it made (0: not put yet), `by` who did it, `why` the reason of an end, or of giving
    one back. `seen_at`: when a sweep last worked on it; None: none has begun. `carried`: every image was decided again,
    and a summary is to be announced.
    """

    former: Waiver | None
    waiver: Waiver | None
    by: str
    at: datetime
    why: str = ""
    policy_version: int = 0
    version: int = 0
    seen_at: datetime | None = None
    carried: Carried | None = None

    @property
    def subject(self) -> Waiver:
        """The waiver as it stands, or stood at its end."""
        subject = self.waiver or self.former
        if subject is None:
            raise ValueError("a change of no waiver")
        return subject

    @property
    def what(self) -> str:
        if self.waiver is None:
            return ENDED
        return GIVEN if self.former is None else CHANGED

    def may_change(self, decision: Decision) -> bool:
        """Whether the verdict of an image that it `concerns` may hang on it. A new waiver for a rule changes nothing
        where nothing is punished; one that was there before may be why nothing is."""
        return self.former is not None or self.subject.vulnerability_id is not None or decision is not Decision.ALLOW


class Touched(msgspec.Struct, frozen=True):
    """What a waiver or a release is about by what is stored now. `whole` False: there was no time to look at all."""

    images: int
    findings: int
    whole: bool = True


def concerns(waiver: Waiver, repository: str, sketch: bytes, *, sketch_tells: bool = True) -> bool:
    """Whether it is about the image. `sketch_tells` False: some rule sees resolved findings, which no sketch holds."""
    if not waiver.covers(repository):
        return False
    return not sketch_tells or waiver.vulnerability_id is None or in_sketch(sketch, waiver.vulnerability_id)


def named(waiver: Waiver) -> str:
    """What it excuses, in one line: `CVE-2026-0001 (package openssl) in team/*`."""
    what = waiver.vulnerability_id or f"rule {waiver.rule}"
    narrowed = [f"package {waiver.package}"] if waiver.package else []
    narrowed += [f"from rule {waiver.rule}"] if waiver.vulnerability_id and waiver.rule else []
    words = [what, *([f"({', '.join(narrowed)})"] if narrowed else []), "in", waiver.repository]
    return sanitize(" ".join(words), _SHOWN)


def said(waiver: Waiver) -> str:
    """What the approver vouches for: reason, approver, end, and the words of VEX where there are any."""
    vex = " ".join(word for word in (waiver.status, waiver.justification) if word)
    exploited = "; even if it is exploited" if waiver.even_if_exploited else ""
    return (
        f"{named(waiver)}: {sanitize(waiver.reason, _SHOWN)}{f' [{vex}]' if vex else ''}{exploited}; "
        f"approved by {sanitize(waiver.approved_by, 100)}, until {moment(waiver.expires_at)}"
    )


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def waive_command(waiver: Waiver) -> str:
    """The command that gives it as it stands; every word quoted for a POSIX shell."""
    options = {
        "repository": waiver.repository,
        "vulnerability": waiver.vulnerability_id,
        "package": waiver.package,
        "rule": waiver.rule,
        "reason": waiver.reason,
        "approved-by": waiver.approved_by,
        "expires": waiver.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": waiver.status,
        "justification": waiver.justification,
    }
    words = [word for name, value in options.items() if value for word in (f"--{name}", str(value))]
    flags = ["--even-if-exploited"] if waiver.even_if_exploited else []
    return shlex.join(("lazaretto", "waive", *words, *flags, "--allow-unmatched"))


def unwaive_command(waiver_id: str, why: str) -> str:
    return shlex.join(("lazaretto", "unwaive", waiver_id, "--reason", why))


def renew_command(waiver_id: str, days: int) -> str:
    """It asks for the approver again: a renewal is a new approval."""
    return shlex.join(("lazaretto", "waive", "--renew", waiver_id, "--expires", f"{days}d"))


NAMED = 5
SETTLED_AFTER = timedelta(minutes=2)
"""By then an act is done or held, and the indexes of an image are decided: one summary tells of all of it."""


class Turned(msgspec.Struct, frozen=True):
    """An image whose verdict the end of waivers turned, and the alert that their summary is to tell."""

    header: Header
    alert: PendingAlert

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
        return (
            *([f"Turned by its end alone: {', '.join(kinds)}."] if kinds else []),
            *some_of([t.line for t in sorted(self.turned, key=_badness)], NAMED),
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
