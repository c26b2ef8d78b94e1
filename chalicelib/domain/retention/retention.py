"""Which images of a repository stay and which go, by the policy's `retention`. Pure.

An image stays while any part of `keep` holds. Whatever the rule says, an image stays that runs or may run, that is
quarantined, waived, archived or being restored, that a kept index needs, whose replica is not proven, or that is the
newest of its line that is ALLOW or WARN: what people would go back to; and so does
one of which any of this is unknown. A signature, an SBOM or an attestation goes with its subject.

There are two steps, because looking up who runs an image is expensive: `judge` says what the rules would take, and
`resolve` what of it may go, by what was looked up for exactly those.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from chalicelib.domain.headers.header import line_name
from chalicelib.domain.images.image import InUse, InUseState, Repository, StorageStatus
from chalicelib.domain.images.text import Globs
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import QUARANTINED, WAIVED, RetainedImage, names_subject, within
from chalicelib.domain.retention.legal_hold import LEGAL_HOLD
from chalicelib.domain.retention.plan import RetentionDecision, RetentionPlan, by_digest, conclude

NO_RULE, STORED, NO_TIME, UNTAGGED = "no rule", "archived", "no push time", "untagged"
INDEX, SUBJECT, RUNNING, REPLICA, LINE = "index", "subject", "running", "replica", "line"
PULLED_AT_EASE = (Decision.ALLOW, Decision.WARN)
NEW = "new since"
_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.\d+)?(?:[-+.].*)?")
_SHOWN = 19
_NEW = "the plan that was read does not name it"

Decisions = dict[str, RetentionDecision]


class JudgedRepository(msgspec.Struct, frozen=True):
    """`number`, `rule`: the first of the policy's `retention` that names the repository; None: none does."""

    repository: Repository
    number: int | None
    rule: Retention | None
    decisions: tuple[RetentionDecision, ...]

    @property
    def candidates(self) -> tuple[str, ...]:
        """The digests to look up: those that would go."""
        return tuple(sorted(decision.image.digest for decision in self.decisions if decision.taken))

    @property
    def groups(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The candidates by the index or subject they go with, by its digest. A part of a run holds whole groups."""
        images = {decision.image.digest: decision.image for decision in self.decisions}
        above = _above(images)
        found: dict[str, list[str]] = {}
        for digest in self.candidates:
            found.setdefault(_leader(digest, above), []).append(digest)
        return tuple((leader, tuple(found[leader])) for leader in sorted(found))


def rule_for(repository: Repository, rules: Sequence[Retention]) -> tuple[int, Retention] | None:
    """The first that names the repository. A public one has none."""
    if repository.public:
        return None
    return next(((n, r) for n, r in enumerate(rules) if Globs(r.repository).match(repository.name)), None)


def judge(
    repository: Repository, images: Collection[RetainedImage], rules: Sequence[Retention], now: datetime
) -> JudgedRepository:
    """What the rules would take. `images`: all of the repository, archived ones too, in any order; never a part."""
    known = by_digest(images)
    found = rule_for(repository, rules)
    if found is None:
        why = "no rule of `retention` names this repository"
        kept = tuple(RetentionDecision(image, False, NO_RULE, why) for image in known.values())
        return JudgedRepository(repository, None, None, kept)
    number, rule = found
    book = _Book(number, rule, known, now)
    decisions = {digest: book.decision(image) for digest, image in known.items()}
    return JudgedRepository(repository, number, rule, tuple(_closed(decisions, rule).values()))


def resolve(
    judged: JudgedRepository,
    uses: Mapping[str, InUse],
    missing: Mapping[str, str] | None,
    passed: Collection[str] = (),
    gone: int = 0,
    among: Collection[str] | None = None,
) -> RetentionPlan:
    """What may go of what `judge` would take. `uses`: by digest, as looked up now. `missing`: why the replica of a
    digest is not proven; None: unknown for all. `passed`: images that stayed when they were looked up earlier in this
    run. `gone`: how many went earlier in it; they count for its limits. `among`: what a person agreed to; None: all."""
    earlier = frozenset(passed)
    agreed = (_kept(f, NEW, _NEW) if among is not None and f.image.digest not in among else f for f in judged.decisions)
    decisions = {decision.image.digest: _asked(decision, uses, missing, earlier) for decision in agreed}
    closed = tuple(_closed(decisions, judged.rule).values())
    return conclude(judged.repository, judged.number, judged.rule, closed, gone)


def _asked(
    decision: RetentionDecision, uses: Mapping[str, InUse], missing: Mapping[str, str] | None, earlier: frozenset[str]
) -> RetentionDecision:
    if not decision.taken:
        return decision
    if decision.image.digest in earlier:
        return _kept(decision, RUNNING, "it was looked up earlier in this run, and stayed")
    use = uses.get(decision.image.digest)
    if use is None:
        return _kept(decision, RUNNING, "whether it runs was not looked up: too many at once", open_=True)
    decision = msgspec.structs.replace(decision, asked=use.state, asked_at=use.seen_at)
    if use.state is not InUseState.NO:
        return _kept(decision, RUNNING, running_words(use))
    if missing is None:
        return _kept(decision, REPLICA, "whether its replicas are there could not be looked up")
    if (why := missing.get(decision.image.digest)) is not None:
        return _kept(decision, REPLICA, why)
    return decision


def newest_of_lines(images: Collection[RetainedImage]) -> dict[str, str]:
    """The newest image of each line that is ALLOW or WARN, by digest, with the name of its line. Untagged images are a
    line of their own here, without those that belong to an index: what is started by digest needs a newest one too."""
    held = {digest for image in images for digest in image.contains or ()}
    found: dict[str, str] = {}
    for image in sorted(images, key=lambda image: image.age_order):
        if image.decision not in PULLED_AT_EASE or image.storage is not StorageStatus.ACTIVE:
            continue
        if image.tags or not (image.parents or image.digest in held):
            found[line_name(image.tags) if image.tags else UNTAGGED] = image.digest
    return {digest: line for line, digest in found.items()}


class _Book:
    """One rule, and what it needs of the whole repository to decide about one image."""

    def __init__(self, number: int, rule: Retention, images: Mapping[str, RetainedImage], now: datetime) -> None:
        self._name, self._rule, self._images, self._now = f"retention[{number}]", rule, images, now
        keep = rule.keep
        self._globs = None if keep.tag is UNSET else Globs(keep.tag)
        counted = [i for i in images.values() if i.tags and i.storage is StorageStatus.ACTIVE and not i.goes_with]
        counted.sort(key=lambda image: image.age_order, reverse=True)
        self._newest = set() if keep.newest is UNSET else {i.digest for i in counted[: keep.newest]}
        self._minor = {} if keep.newest_per_minor is UNSET else _newest_per_minor(counted, keep.newest_per_minor)
        self._held = {digest for image in images.values() for digest in image.contains or ()}
        self._lines = newest_of_lines(images.values())

    def decision(self, image: RetainedImage) -> RetentionDecision:
        """Without what a kept index or subject keeps: `_closed` adds that."""
        if image.guard is not None:
            return RetentionDecision(image, False, image.guard.by, image.guard.why)
        if (kept := self._kept_by_inner(image)) is not None:
            return kept
        if (line := self._lines.get(image.digest)) is not None:
            return RetentionDecision(image, False, LINE, f"the newest of line {line} that is {image.decision}")
        if image.storage is not StorageStatus.ACTIVE and not self._follows(image):
            what = "being restored" if image.storage is StorageStatus.ACTIVATING else "archived already"
            return RetentionDecision(image, False, STORED, what)
        if image.pushed_at is None:
            return RetentionDecision(image, False, NO_TIME, "ECR does not say when it was pushed")
        if image.goes_with in self._images:
            return RetentionDecision(image, True, self._name, f"goes with its subject {_short(image.goes_with)}")
        if image.tags and not image.goes_with:
            return self._tagged(image)
        return self._kept_by_tag(image) or self._untagged(image)

    def _kept_by_inner(self, index: RetainedImage) -> RetentionDecision | None:
        """An image that is needed or is evidence was pulled by the indexes that hold it, on every level."""
        for digest in sorted(within(index.digest, self._images)):
            guard = self._images[digest].guard
            if guard is not None and guard.by in (QUARANTINED, WAIVED, LEGAL_HOLD):
                return RetentionDecision(index, False, guard.by, f"it holds {_short(digest)}: {guard.why}")
        return None

    def _follows(self, image: RetainedImage) -> bool:
        """An archived signature goes when its subject is deleted."""
        archived = image.storage is StorageStatus.ARCHIVED and self._rule.action == "expire"
        return archived and image.goes_with in self._images

    def _tagged(self, image: RetainedImage) -> RetentionDecision:
        keep = self._rule.keep
        if (kept := self._kept_by_tag(image)) is not None:
            return kept
        if image.digest in self._newest:
            return self._kept_by(image, "newest", f"one of the newest {keep.newest}")
        if image.digest in self._minor:
            said = f"one of the newest {keep.newest_per_minor} of {self._minor[image.digest]}"
            return self._kept_by(image, "newest_per_minor", said)
        if self._within(image.arrived_at, keep.pushed_within_days):
            return self._kept_by(image, "pushed_within_days", f"pushed or restored {self._ago(image.arrived_at)}")
        if self._within(image.used_at, keep.pulled_within_days):
            return self._kept_by(image, "pulled_within_days", f"last pulled, or pushed, {self._ago(image.used_at)}")
        return RetentionDecision(
            image, True, self._name, f"nothing of `keep` holds: pushed {self._ago(image.arrived_at)}"
        )

    def _kept_by_tag(self, image: RetainedImage) -> RetentionDecision | None:
        """A signature's tag that only names its subject keeps nothing."""
        tags = [tag for tag in image.tags if not (image.goes_with and names_subject(tag))]
        tag = None if self._globs is None else next(filter(self._globs.match, tags), None)
        return None if tag is None else self._kept_by(image, "tag", f"its tag {tag} is to be kept")

    def _untagged(self, image: RetainedImage) -> RetentionDecision:
        """`newest`, `newest_per_minor` and `pushed_within_days` are about tagged images, `untagged_after_days` about
        the others. A pull by digest counts for both."""
        rule, keep = self._rule, self._rule.keep
        if image.pulled_at is not None and self._within(image.used_at, keep.pulled_within_days):
            return self._kept_by(image, "pulled_within_days", f"last pulled {self._ago(image.used_at)}")
        if rule.untagged_after_days is UNSET:
            return self._orphan(image)
        if self._within(image.arrived_at, rule.untagged_after_days):
            said = f"untagged, and pushed only {self._ago(image.arrived_at)}"
            return RetentionDecision(image, False, f"{self._name}.untagged_after_days", said)
        said = f"untagged, and pushed {self._ago(image.arrived_at)}"
        return RetentionDecision(image, True, f"{self._name}.untagged_after_days", said)

    def _orphan(self, image: RetainedImage) -> RetentionDecision:
        """The images of an index go with it, or after it."""
        if image.digest in self._held:
            return RetentionDecision(image, True, self._name, "goes with the index that holds it")
        if image.parents and not any(parent in self._images for parent in image.parents):
            return RetentionDecision(image, True, self._name, f"its index {_short(image.parents[0])} is gone")
        return RetentionDecision(image, False, UNTAGGED, "untagged, and the rule has no `untagged_after_days`")

    def _within(self, at: datetime | None, days: object) -> bool:
        return isinstance(days, int) and at is not None and self._now - at <= timedelta(days=days)

    def _kept_by(self, image: RetainedImage, key: str, why: str) -> RetentionDecision:
        return RetentionDecision(image, False, f"{self._name}.keep.{key}", why)

    def _ago(self, at: datetime | None) -> str:
        assert at is not None
        days = (self._now - at).days
        return "today" if days < 1 else f"{days} day{'s' if days != 1 else ''} ago"


def _closed(decisions: Mapping[str, RetentionDecision], rule: Retention | None) -> Decisions:
    """Kept images keep others: an index its images, a subject its referrers, an unread index all; and an image the one
    it says it refers to, or ECR would delete both. One that is archived keeps nothing from the archive."""
    closed = dict(decisions)
    archiving = rule is not None and rule.action == "archive"
    unread = next((d for d, f in closed.items() if f.image.contains is None), None)
    if unread is not None:
        return {d: _kept(f, INDEX, _needed(unread, closed[unread], "may be needed by")) for d, f in closed.items()}
    referrers = _referrers(closed)
    waiting = sorted(
        d
        for d, f in closed.items()
        if not f.taken and not (archiving and f.by == STORED and f.image.storage is StorageStatus.ARCHIVED)
    )
    while waiting:
        holder = waiting.pop()
        decision = closed[holder]
        needed = _needed(holder, decision, "needed by")
        news = {d: _kept(closed[d], INDEX, needed) for d in decision.image.contains or () if d in closed}
        if (subject := decision.image.subject) in closed and not decision.image.attached and subject is not None:
            why = f"ECR would delete the image {_short(holder)} with it, which refers to it"
            news.setdefault(subject, _kept(closed[subject], SUBJECT, why))
        for digest in referrers.get(holder, ()):
            news.setdefault(digest, _kept(closed[digest], SUBJECT, f"stays with its subject {_short(holder)}"))
        for digest in sorted(d for d in news if closed[d].taken):
            closed[digest] = news[digest]
            waiting.append(digest)
    return closed


def _above(images: Mapping[str, RetainedImage]) -> Mapping[str, str]:
    """What each image goes with: its subject, else the first index that holds it, also one that is gone: so that the
    groups of a run that was stopped stay the same."""
    found: dict[str, str] = {}
    for holder in sorted(images):
        for digest in images[holder].contains or ():
            found.setdefault(digest, holder)
    for digest, image in images.items():
        if image.parents:
            found.setdefault(digest, image.parents[0])
    subjects = {digest: image.subject for digest, image in images.items() if image.subject in images}
    return {**found, **{digest: subject for digest, subject in subjects.items() if subject is not None}}


def _leader(digest: str, above: Mapping[str, str]) -> str:
    """The top of the chain; of a circle the first digest in it."""
    way = [digest]
    while (following := above.get(way[-1])) is not None:
        if following in way:
            return min(way[way.index(following) :])
        way.append(following)
    return way[-1]


def _referrers(decisions: Mapping[str, RetentionDecision]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for digest, decision in sorted(decisions.items()):
        if decision.image.goes_with is not None and decision.image.goes_with in decisions:
            found.setdefault(decision.image.goes_with, []).append(digest)
    return found


def _kept(decision: RetentionDecision, by: str, why: str, *, open_: bool = False) -> RetentionDecision:
    return msgspec.structs.replace(decision, taken=False, by=by, why=why, open=open_) if decision.taken else decision


def _needed(digest: str, index: RetentionDecision, how: str) -> str:
    tags = f" ({', '.join(index.image.tags[:3])})" if index.image.tags else ""
    unread = ", whose images could not be read" if index.image.contains is None else ""
    return f"{how} the index {_short(digest)}{tags}{unread}"


def running_words(use: InUse) -> str:
    """Why an image counts as running."""
    if use.state is InUseState.YES:
        return f"runs, or may be started: {'; '.join(use.by[:3]) or 'Inspector says so'}"
    return f"whether it runs cannot be told: {'; '.join(use.blind[:3]) or 'no place was looked at'}"


def _newest_per_minor(counted: Sequence[RetainedImage], most: int) -> dict[str, str]:
    """By digest, the minor version that keeps it. `counted`: newest first; an image may have several."""
    seen: dict[tuple[int, int], int] = {}
    found: dict[str, str] = {}
    for image in counted:
        for minor in sorted({(int(m[1]), int(m[2])) for m in map(_VERSION.fullmatch, image.tags) if m}):
            seen[minor] = seen.get(minor, 0) + 1
            if seen[minor] <= most:
                found.setdefault(image.digest, f"{minor[0]}.{minor[1]}")
    return found


def _short(digest: str | None) -> str:
    return (digest or "")[:_SHOWN]
