"""Write our retention rule for a repository as its native lifecycle policy, where that can be said and hurts nobody."""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.retention_kind import LIFECYCLE_WRITTEN
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.lifecycle_compiler import Compiled, compile_retention
from chalicelib.domain.retention.retention import rule_for
from chalicelib.errors import ConflictError
from chalicelib.services.ports.ports import ActionRecord
from chalicelib.services.ports.sweep_ports import RetentionHouse
from chalicelib.services.retention.compare_lifecycle import Compared, compare_lifecycle


class Written(msgspec.Struct, frozen=True):
    """`former`: the policy that was in force, None: there was none. `dry_run`: nothing was written."""

    compared: Compared
    compiled: Compiled
    former: str | None
    dry_run: bool


def write_lifecycle(repository: Repository, by: str, house: RetentionHouse, *, dry_run: bool = False) -> Written:
    """Raises ConflictError, with the reason, where no rule names the repository, the grammar cannot say the rule, the
    policy only observes or exempts it, a limit of the rule stops our own plan, or ECR would take what runs, may run, is
    evidence, or is kept by us."""
    rules = house.rules.fresh()
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
    compared = compare_lifecycle(repository, house, text=text, rules=rules)
    if stopped := compared.planned.plan.stopped:
        raise ConflictError(f"{stopped}, and ECR knows no limit")
    if compared.dangers:
        first = compared.dangers[0]
        said = f"{first.image.digest[:19]}, {first.danger.name.lower()}: {first.why}"
        raise ConflictError(f"ECR would take {len(compared.dangers)} images that are to stay, such as {said}")
    former = house.lifecycles.read(repository)
    if not dry_run and former != text:
        house.table.record_action(_record(repository, number, by, former, text, rules.policy_version, house))
        house.lifecycles.write(repository, text)
    return Written(compared, compiled, former, dry_run)


def _record(
    repository: Repository, number: int, by: str, former: str | None, text: str, version: int, house: RetentionHouse
) -> ActionRecord:
    """Before it is written, so that no policy is ever written without a trace."""
    now = house.clock.now()
    named = f"--registry-id {repository.registry} --region {repository.region} --repository-name {repository.name}"
    return ActionRecord(
        ref=None,
        effect=LIFECYCLE_WRITTEN,
        wanted_at=now,
        kind=LIFECYCLE_WRITTEN,
        actor=f"person:{by}",
        reason=f"retention[{number}] as a native lifecycle policy",
        at=now,
        before=former,
        after=text,
        policy_version=version,
        undo=f"aws ecr delete-lifecycle-policy {named}" if former is None else None,
        subject=f"repository/{repository.path}",
    )
