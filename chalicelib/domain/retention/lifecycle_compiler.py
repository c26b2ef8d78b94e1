"""Our retention rule as a native lifecycle policy, or why it cannot be one; and where the two differ, worst first.

A native rule has one count and no "keep": what is kept by its tag gets a rule of higher priority that never reaches its
count. What a native policy never knows (what runs, quarantine, waivers, replicas, limits) is named each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum

import msgspec
from msgspec import UNSET

from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import QUARANTINED, RetainedImage
from chalicelib.domain.retention.legal_hold import LEGAL_HOLD
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.domain.retention.lifecycle_policy import (
    COUNT,
    MOST_IMAGES,
    MOST_RULES,
    MOST_WILDCARDS,
    PULLED,
    PUSHED,
    LifecycleAction,
    LifecyclePolicy,
    LifecycleRule,
    Selection,
)
from chalicelib.domain.retention.plan import RetentionDecision, RetentionPlan
from chalicelib.domain.retention.retention import running_words


class Danger(IntEnum):
    """ECR would take what runs or may run (RUNNING), is quarantined (EVIDENCE), or we keep (KEPT). LEFT: it leaves what
    we take. OTHERWISE: both take it, one of them to the archive."""

    RUNNING = 1
    EVIDENCE = 2
    KEPT = 3
    LEFT = 4
    OTHERWISE = 5


class LifecycleDifference(msgspec.Struct, frozen=True):
    """`native`: what ECR would do; None: nothing. `use`: as looked up; None: it was not."""

    image: RetainedImage
    danger: Danger
    native: NativeAct | None
    ours: RetentionDecision
    use: InUse | None = None

    @property
    def why(self) -> str:
        """Who runs it; else the reason of our decision."""
        if self.danger is not Danger.RUNNING:
            return self.ours.why
        return running_words(self.use) if self.use else "whether it runs was not looked up: too many at once"


def differences(
    plan: RetentionPlan, native: Mapping[str, NativeAct], uses: Mapping[str, InUse]
) -> tuple[LifecycleDifference, ...]:
    """`uses`: of what ECR would take; an absent image may run. What both take is no difference, unless it runs."""
    found = (_difference(decision, native.get(decision.image.digest), plan, uses) for decision in plan.decisions)
    return tuple(sorted(filter(None, found), key=lambda d: (d.danger, d.image.digest)))


def _difference(
    decision: RetentionDecision, native: NativeAct | None, plan: RetentionPlan, uses: Mapping[str, InUse]
) -> LifecycleDifference | None:
    image = decision.image
    if native is None:
        return LifecycleDifference(image, Danger.LEFT, None, decision) if decision.taken else None
    use = uses.get(image.digest)
    if use is None or use.state is not InUseState.NO:
        return LifecycleDifference(image, Danger.RUNNING, native, decision, use)
    if image.guard is not None and image.guard.by in (QUARANTINED, LEGAL_HOLD):
        return LifecycleDifference(image, Danger.EVIDENCE, native, decision)
    if not decision.taken:
        return LifecycleDifference(image, Danger.KEPT, native, decision)
    return None if native.action == plan.action else LifecycleDifference(image, Danger.OTHERWISE, native, decision)


NEVER_REACHED = 10 * MOST_IMAGES
"""More images than a repository may hold: a rule with this count only keeps."""
UNSAID = (
    "that what runs, or may run, stays",
    "that what is quarantined, waived or under legal hold stays",
    "that the newest image of a line that is ALLOW or WARN stays",
    "that an image stays until its replicas are there",
    "max_share and max_images",
    "that signatures kept as tags (sha256-….sig) go with their image: it counts them as images",
)
_PATTERN = re.compile(r"[A-Za-z0-9_.*-]+")
_COUNTS = ("newest", "pushed_within_days", "pulled_within_days")


class Compiled(msgspec.Struct, frozen=True):
    """`policy` None: the grammar cannot say it, for these `refusals`."""

    policy: LifecyclePolicy | None
    refusals: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = UNSAID


def compile_retention(rule: Retention) -> Compiled:
    """A policy with the same decisions, as far as tags, pushes, pulls, indexes and subjects make them."""
    refusals = tuple(dict.fromkeys(_refusals(rule)))
    return Compiled(None, refusals) if refusals else Compiled(_said(rule))


def _refusals(rule: Retention) -> Iterator[str]:
    keep = rule.keep
    if keep.newest_per_minor is not UNSET:
        yield "newest_per_minor: ECR does not read versions out of tags"
    globs = _globs(rule)
    for glob in globs:
        if glob.startswith("!"):
            yield f"tag {glob!r}: ECR has no exclusions"
        elif "?" in glob:
            yield f"tag {glob!r}: ECR knows `*` alone"
        elif not _PATTERN.fullmatch(glob):
            yield f"tag {glob!r}: no tag of ECR has such characters"
        elif glob.count("*") > MOST_WILDCARDS:
            yield f"tag {glob!r}: ECR takes at most {MOST_WILDCARDS} wildcards"
    if len(globs) + 2 > MOST_RULES:
        yield f"tag: each glob needs a rule of its own, and ECR takes {MOST_RULES}"
    yield from _refused_counts(rule)
    yield from _refused_untagged(rule)


def _refused_counts(rule: Retention) -> Iterator[str]:
    given = [name for name in _COUNTS if name in rule.keep.given]
    if len(given) > 1:
        yield f"{' and '.join(given)}: a native rule has one count, and cannot spare what another one would keep"
    if not given and "*" not in _globs(rule):
        yield "keep names no count (newest, pushed_within_days, pulled_within_days): nothing native takes all at once"
    for name in given:
        if rule.keep.given[name] < 1:
            yield f"{name}: a count is at least 1"
    if "pulled_within_days" in given and rule.action == "expire":
        yield "pulled_within_days: by pulls ECR archives, and does not expire"


def _refused_untagged(rule: Retention) -> Iterator[str]:
    days, pulled = rule.untagged_after_days, rule.keep.pulled_within_days
    if days is UNSET:
        yield "untagged_after_days is not said: the images of an expired index would stay for ever"
    elif days < 1:
        yield "untagged_after_days: a count is at least 1"
    elif pulled is not UNSET and pulled != days:
        yield "untagged_after_days differs from pulled_within_days: a native rule cannot look at push and pull"


def _said(rule: Retention) -> LifecyclePolicy:
    keep = rule.keep
    action = (
        LifecycleAction(type="expire")
        if rule.action == "expire"
        else LifecycleAction(type="transition", target_storage_class="archive")
    )
    guards = [(f"Keep {glob}", _tagged(glob, COUNT, NEVER_REACHED)) for glob in _globs(rule)]
    others = [("Untagged", _untagged(rule))]
    for name, count_type in zip(_COUNTS, (COUNT, PUSHED, PULLED), strict=True):
        if name in keep.given and "*" not in _globs(rule):
            others.append((f"Tagged, but for {name}", _tagged("*", count_type, keep.given[name])))
    rules = [
        LifecycleRule(rule_priority=n, description=f"{text} (lazaretto)", selection=selection, action=action)
        for n, (text, selection) in enumerate([*guards, *others], 1)
    ]
    return LifecyclePolicy(rules=tuple(rules))


def _tagged(glob: str, count_type: str, number: int) -> Selection:
    return _selection("tagged", count_type, number, (glob,))


def _untagged(rule: Retention) -> Selection:
    days = rule.untagged_after_days
    assert days is not UNSET
    return _selection("untagged", PUSHED if rule.keep.pulled_within_days is UNSET else PULLED, days)


def _selection(status: str, count_type: str, number: int, patterns: tuple[str, ...] | None = None) -> Selection:
    said = {"tagStatus": status, "tagPatternList": patterns, "countType": count_type, "countNumber": number}
    unit = None if count_type == COUNT else "days"
    return msgspec.convert({**said, "countUnit": unit}, Selection)


def _globs(rule: Retention) -> tuple[str, ...]:
    """Each once: ECR refuses two rules of one pattern."""
    tag = rule.keep.tag
    if tag is UNSET:
        return ()
    return tuple(dict.fromkeys((tag,) if isinstance(tag, str) else tag))
