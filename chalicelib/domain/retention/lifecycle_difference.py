"""Where a native lifecycle policy and our retention differ, image by image; worst first. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.retention.image import QUARANTINED, RetainedImage
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.domain.retention.retention import running_words
from chalicelib.domain.retention.retention_plan import Fate, RetentionPlan


class Danger(IntEnum):
    """RUNNING: ECR would take what runs or may run; EVIDENCE: what is quarantined; KEPT: what we keep; LEFT: ECR leaves
    what we would take; OTHERWISE: both take it, one of them to the archive."""

    RUNNING = 1
    EVIDENCE = 2
    KEPT = 3
    LEFT = 4
    OTHERWISE = 5


class Difference(msgspec.Struct, frozen=True):
    """`native`: what ECR would do, None: nothing. `use`: as looked up, None: it was not."""

    image: RetainedImage
    danger: Danger
    native: NativeAct | None
    ours: Fate
    use: InUse | None = None

    @property
    def why(self) -> str:
        """What makes it dangerous: who runs it; else why we do with it what we do."""
        if self.danger is not Danger.RUNNING:
            return self.ours.why
        return running_words(self.use) if self.use else "nobody looked whether it runs: too many to look up at once"


def differences(
    plan: RetentionPlan, native: Mapping[str, NativeAct], uses: Mapping[str, InUse]
) -> tuple[Difference, ...]:
    """`uses`: of what ECR would take, as looked up; whoever is absent may run. What both do is no difference, unless it
    runs: both would be wrong then."""
    found = [
        d for fate in plan.fates if (d := _difference(fate, native.get(fate.image.digest), plan, uses)) is not None
    ]
    return tuple(sorted(found, key=lambda d: (d.danger, d.image.digest)))


def _difference(
    fate: Fate, native: NativeAct | None, plan: RetentionPlan, uses: Mapping[str, InUse]
) -> Difference | None:
    image = fate.image
    if native is None:
        return Difference(image, Danger.LEFT, None, fate) if fate.taken else None
    use = uses.get(image.digest)
    if use is None or use.state is not InUseState.NO:
        return Difference(image, Danger.RUNNING, native, fate, use)
    if image.guard is not None and image.guard.by == QUARANTINED:
        return Difference(image, Danger.EVIDENCE, native, fate)
    if not fate.taken:
        return Difference(image, Danger.KEPT, native, fate)
    return None if native.action == plan.action else Difference(image, Danger.OTHERWISE, native, fate)
