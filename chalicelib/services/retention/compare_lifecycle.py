"""Compare a repository's native lifecycle policy with our retention: what would ECR take that runs, or that we keep.

By ECR's own preview where it gives one, else by our reading of the grammar. Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.lifecycle_difference import Danger, Difference, differences
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct, evaluate_lifecycle_policy
from chalicelib.domain.retention.lifecycle_policy import (
    LifecyclePolicy,
    explain_lifecycle_policy,
    parse_lifecycle_policy,
)
from chalicelib.errors import AbsentError, RefusedPayloadError, TransientError, UpstreamError
from chalicelib.services.ports.sweep_ports import RetentionHouse
from chalicelib.services.retention.plan_retention import Planned, plan_retention
from chalicelib.services.usage.look_up_uses import MOST_LOOKED_UP, uses_of


class Compared(msgspec.Struct, frozen=True):
    """`text`: the native policy, None: there is none. `acts`: what it would do, by digest; `previewed`: ECR said so
    itself, else `doubt` says why it did not. `unread`: why our own reading of the policy failed."""

    planned: Planned
    text: str | None
    explained: tuple[str, ...] = ()
    acts: Mapping[str, NativeAct] = {}
    differences: tuple[Difference, ...] = ()
    previewed: bool = False
    doubt: str = ""
    unread: str = ""

    @property
    def dangers(self) -> tuple[Difference, ...]:
        """Where ECR would take what must stay."""
        return tuple(d for d in self.differences if d.danger <= Danger.KEPT)


def compare_lifecycle(
    repository: Repository, house: RetentionHouse, *, text: str | None = None, rules: Rules | None = None
) -> Compared:
    """`text`: the policy to compare, None: the one that is in force. Raises AbsentError (`repository`), UpstreamError
    where ECR gives no preview and its policy cannot be read here either."""
    planned = plan_retention(repository, house, rules=rules)
    text = house.lifecycles.read(repository) if text is None else text
    if text is None:
        return Compared(planned, None)
    policy, unread = _read(text)
    doubt = ""
    try:
        acts, previewed = house.lifecycles.preview(repository, text), True
    except (AbsentError, TransientError):
        raise
    except UpstreamError as error:
        if policy is None:
            raise
        images = [fate.image for fate in planned.plan.fates]
        acts, previewed, doubt = evaluate_lifecycle_policy(policy, images, planned.listed_at), False, str(error)
    fates = [fate.image for fate in planned.plan.fates]
    there = {image.digest for image in fates}
    asked = sorted(acts.keys() & there)[:MOST_LOOKED_UP]
    uses = uses_of(repository, fates, asked, house)
    found = differences(planned.plan, acts, uses)
    explained = explain_lifecycle_policy(policy) if policy is not None else ()
    return Compared(planned, text, explained, acts, found, previewed, doubt, unread)


def _read(text: str) -> tuple[LifecyclePolicy | None, str]:
    """ECR may know more by now than we do."""
    try:
        return parse_lifecycle_policy(text), ""
    except RefusedPayloadError as error:
        return None, str(error)
