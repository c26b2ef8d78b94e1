"""Write our retention rule for a repository as its native lifecycle policy, and compare a native one with ours.

The comparison uses ECR's own preview where it gives one, else our reading of the grammar.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.lifecycle_compiler import (
    Compiled,
    Danger,
    LifecycleDifference,
    compile_retention,
    differences,
)
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct, evaluate_lifecycle_policy
from chalicelib.domain.retention.lifecycle_policy import (
    LifecyclePolicy,
    explain_lifecycle_policy,
    parse_lifecycle_policy,
)
from chalicelib.domain.retention.retention import rule_for
from chalicelib.errors import AbsentError, ConflictError, RefusedPayloadError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context
from chalicelib.services.retention.plan_retention import Planned, plan_retention
from chalicelib.services.usage.find_image_uses import MOST_LOOKED_UP, uses_of


class Compared(msgspec.Struct, frozen=True):
    """`text`: the native policy; None: there is none. `acts`: what it would do, by digest; `previewed`: by ECR's
    preview, else `doubt` says why there is none. `unread`: why we could not read the policy."""

    planned: Planned
    text: str | None
    explained: tuple[str, ...] = ()
    acts: Mapping[str, NativeAct] = {}
    differences: tuple[LifecycleDifference, ...] = ()
    previewed: bool = False
    doubt: str = ""
    unread: str = ""

    @property
    def dangers(self) -> tuple[LifecycleDifference, ...]:
        """Where ECR would take what must stay."""
        return tuple(d for d in self.differences if d.danger <= Danger.KEPT)


def compare_lifecycle(
    repository: Repository, context: Context, *, text: str | None = None, rules: Rules | None = None
) -> Compared:
    """`text`: the policy to compare; None: the one in force. Raises AbsentError (`repository`), UpstreamError where
    there is no preview and we cannot read the policy either."""
    planned = plan_retention(repository, context, rules=rules)
    text = context.lifecycles.read(repository) if text is None else text
    if text is None:
        return Compared(planned, None)
    policy, unread = _read(text)
    images, doubt = [decision.image for decision in planned.plan.decisions], ""
    try:
        acts, previewed = context.lifecycles.preview(repository, text), True
    except (AbsentError, TransientError):
        raise
    except UpstreamError as error:
        if policy is None:
            raise
        acts, previewed, doubt = evaluate_lifecycle_policy(policy, images, planned.listed_at), False, str(error)
    asked = sorted(acts.keys() & {image.digest for image in images})[:MOST_LOOKED_UP]
    uses = uses_of(repository, images, asked, context)
    found = differences(planned.plan, acts, uses)
    explained = explain_lifecycle_policy(policy) if policy is not None else ()
    return Compared(planned, text, explained, acts, found, previewed, doubt, unread)


def _read(text: str) -> tuple[LifecyclePolicy | None, str]:
    """ECR may know newer grammar than we do."""
    try:
        return parse_lifecycle_policy(text), ""
    except RefusedPayloadError as error:
        return None, str(error)


class Written(msgspec.Struct, frozen=True):
    """`former`: the policy that was in force; None: there was none. `dry_run`: nothing was written."""

    compared: Compared
    compiled: Compiled
    former: str | None
    dry_run: bool


def write_lifecycle(repository: Repository, by: str, context: Context, *, dry_run: bool = False) -> Written:
    """Raises ConflictError, with the reason, where no rule names the repository, the grammar cannot say the rule, the
    policy only observes or exempts it, a limit of the rule stops our own plan, or ECR would take what runs, may run, is
    evidence, or is kept by us."""
    rules = context.rules.fresh()
    found = rule_for(repository, rules.policy.retention)
    if found is None:
        raise ConflictError(f"no rule of `retention` names {repository.name}")
    number, rule = found
    compiled = compile_retention(rule)
    if compiled.policy is None:
        raise ConflictError(f"retention[{number}] cannot be said natively: {'; '.join(compiled.refusals)}")
    if not rules.policy.may_take_from(repository.name):
        raise ConflictError(f"the policy only observes, or exempts {repository.name}: ECR's own would take images")
    text = compiled.policy.text
    compared = compare_lifecycle(repository, context, text=text, rules=rules)
    if stopped := compared.planned.plan.stopped:
        raise ConflictError(f"{stopped}, and ECR knows no limit")
    if compared.dangers:
        first = compared.dangers[0]
        said = f"{first.image.digest[:19]}, {first.danger.name.lower()}: {first.why}"
        raise ConflictError(f"ECR would take {len(compared.dangers)} images that are to stay, such as {said}")
    former = context.lifecycles.read(repository)
    if not dry_run and former != text:
        context.table.record_action(_record(repository, number, by, former, text, rules.policy_version, context))
        context.lifecycles.write(repository, text)
    return Written(compared, compiled, former, dry_run)


def _record(
    repository: Repository, number: int, by: str, former: str | None, text: str, version: int, context: Context
) -> ActionRecord:
    """Recorded before it is written: no policy is written without a trace."""
    now = context.clock.now()
    named = f"--registry-id {repository.registry} --region {repository.region} --repository-name {repository.name}"
    return ActionRecord(
        ref=None,
        effect=ActionKind.LIFECYCLE_WRITTEN,
        wanted_at=now,
        kind=ActionKind.LIFECYCLE_WRITTEN,
        actor=f"person:{by}",
        reason=f"retention[{number}] as a native lifecycle policy",
        at=now,
        before=former,
        after=text,
        policy_version=version,
        undo=f"aws ecr delete-lifecycle-policy {named}" if former is None else None,
        subject=f"repository/{repository.path}",
    )
