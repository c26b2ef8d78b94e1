"""A native lifecycle policy of Amazon ECR: its grammar, typed, and in words. Pure.

Source: Amazon ECR User Guide, "Lifecycle policy properties".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.errors import RefusedPayloadError

LONGEST_TEXT = 30_720
MOST_RULES = 50
MOST_IMAGES = 100_000
MOST_WILDCARDS = 4
LEAST_ARCHIVED_DAYS = 90
COUNT, PUSHED, PULLED = "imageCountMoreThan", "sinceImagePushed", "sinceImagePulled"
TRANSITIONED = "sinceImageTransitioned"
_Number = Annotated[int, Meta(ge=1)]
_Tags = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """ECR refuses an unknown key, and so do we."""


class Selection(_Said, frozen=True, kw_only=True):
    """`tag_pattern_list`, `tag_prefix_list`: each must be met, by any tag of the image."""

    tag_status: Literal["tagged", "untagged", "any"]
    tag_pattern_list: _Tags | None = None
    tag_prefix_list: _Tags | None = None
    storage_class: Literal["standard", "archive"] = "standard"
    count_type: Literal["imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"]
    count_unit: Literal["days"] | None = None
    count_number: _Number

    @property
    def patterns(self) -> tuple[str, ...]:
        """As patterns, also where prefixes were written."""
        return self.tag_pattern_list or tuple(f"{prefix}*" for prefix in self.tag_prefix_list or ())


class LifecycleAction(_Said, frozen=True):
    type: Literal["expire", "transition"]
    target_storage_class: Literal["archive"] | None = None


class LifecycleRule(_Said, frozen=True, kw_only=True):
    rule_priority: _Number
    description: str = ""
    selection: Selection
    action: LifecycleAction


class LifecyclePolicy(_Said, frozen=True):
    """`rules` as written; the lowest `rule_priority` applies first."""

    rules: Annotated[tuple[LifecycleRule, ...], Meta(min_length=1, max_length=MOST_RULES)]

    @property
    def ordered(self) -> tuple[LifecycleRule, ...]:
        return tuple(sorted(self.rules, key=lambda rule: rule.rule_priority))

    @property
    def text(self) -> str:
        """As ECR takes it."""
        return msgspec.json.encode(self).decode()


def parse_lifecycle_policy(text: str | bytes) -> LifecyclePolicy:
    """Raises RefusedPayloadError(JSON path, reason) for what ECR would refuse."""
    if len(text) > LONGEST_TEXT:
        raise RefusedPayloadError("$", f"longer than the {LONGEST_TEXT:,} characters ECR takes")
    try:
        policy = msgspec.json.decode(text, type=LifecyclePolicy)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        raise RefusedPayloadError(path.rstrip("`") or "$", reason) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise RefusedPayloadError("$", f"not JSON: {error}") from None
    for path, reason in _faults(policy):
        raise RefusedPayloadError(path, reason)
    return policy


def explain_lifecycle_policy(policy: LifecyclePolicy) -> tuple[str, ...]:
    """One sentence a rule, in the order they apply."""
    return tuple(f"{rule.rule_priority}. {_sentence(rule)}" for rule in policy.ordered)


def _sentence(rule: LifecycleRule) -> str:
    what, said = rule.selection, "expire" if rule.action.type == "expire" else "archive"
    number, which = what.count_number, _which(what)
    days = f"{number} day{'s' if number != 1 else ''}"
    match what.count_type:
        case "imageCountMoreThan":
            newest = "the newest stays" if number == 1 else f"the newest {number:,} stay"
            if number >= MOST_IMAGES:
                return f"All {which} stay, and no later rule takes them."
            return f"Of the {which}, {newest}; {said} the others."
        case "sinceImagePushed":
            return f"{said.capitalize()} {which} pushed (or restored) more than {days} ago."
        case "sinceImagePulled":
            return f"{said.capitalize()} {which} not pulled for more than {days} (never pulled: since the push)."
    return f"{said.capitalize()} {which} that have been in the archive for more than {days}."


def _which(what: Selection) -> str:
    stored = "archived " if what.storage_class == "archive" else ""
    match what.tag_status:
        case "untagged":
            return f"untagged {stored}images"
        case "any":
            return f"{stored}images (tagged or not)"
    tags = " and one like ".join(f"`{pattern}`" for pattern in what.patterns)
    return f"{stored}images with a tag like {tags}"


def _faults(policy: LifecyclePolicy) -> Iterator[tuple[str, str]]:
    for n, rule in enumerate(policy.rules):
        path = f"$.rules[{n}]"
        yield from _faults_of_selection(rule.selection, f"{path}.selection")
        yield from _faults_of_action(rule, path)
        earlier = policy.rules[:n]
        if any(other.rule_priority == rule.rule_priority for other in earlier):
            yield f"{path}.rulePriority", f"{rule.rule_priority} is another rule's already"
        yield from _faults_beside(rule, earlier, path)
    yield from _faults_of_order(policy)


def _faults_of_selection(what: Selection, path: str) -> Iterator[tuple[str, str]]:
    given = {"tagPatternList": what.tag_pattern_list, "tagPrefixList": what.tag_prefix_list}
    lists = [name for name, said in given.items() if said is not None]
    if what.tag_status == "tagged" and len(lists) != 1:
        yield path, "tagStatus tagged needs tagPatternList or tagPrefixList, and not both"
    if what.tag_status != "tagged" and lists:
        yield f"{path}.{lists[0]}", f"tagStatus {what.tag_status} goes with no list of tags"
    for pattern in what.tag_pattern_list or ():
        if pattern.count("*") > MOST_WILDCARDS:
            yield f"{path}.tagPatternList", f"{pattern!r} has more than {MOST_WILDCARDS} wildcards"
    if what.count_type == COUNT and what.count_unit is not None:
        yield f"{path}.countUnit", f"countType {COUNT} has no unit"
    if what.count_type != COUNT and what.count_unit is None:
        yield f"{path}.countUnit", f'countType {what.count_type} needs "days"'


def _faults_of_action(rule: LifecycleRule, path: str) -> Iterator[tuple[str, str]]:
    what, action = rule.selection, rule.action
    if (action.type == "transition") != (action.target_storage_class is not None):
        yield f"{path}.action.targetStorageClass", "a transition needs it, and nothing else has it"
    if what.count_type == PULLED and action.type != "transition":
        yield f"{path}.action.type", f"countType {PULLED} admits only a transition"
    if what.count_type == TRANSITIONED:
        if what.storage_class != "archive" or action.type != "expire":
            yield f"{path}.selection", f"countType {TRANSITIONED} needs storageClass archive and the action expire"
        if what.count_number < LEAST_ARCHIVED_DAYS:
            yield f"{path}.selection.countNumber", f"an archived image stays at least {LEAST_ARCHIVED_DAYS} days"
    elif what.storage_class == "archive":
        yield f"{path}.selection.storageClass", f"archive goes with countType {TRANSITIONED} alone"


def _faults_beside(rule: LifecycleRule, earlier: Sequence[LifecycleRule], path: str) -> Iterator[tuple[str, str]]:
    what = rule.selection
    for other in (o.selection for o in earlier if o.selection.storage_class == what.storage_class):
        if what.tag_status == other.tag_status == "untagged":
            yield f"{path}.selection.tagStatus", "another rule selects untagged images already"
        if what.tag_status == other.tag_status == "tagged" and set(what.patterns) == set(other.patterns):
            yield f"{path}.selection", "another rule selects the same tags already"


def _faults_of_order(policy: LifecyclePolicy) -> Iterator[tuple[str, str]]:
    last: dict[str, int] = {}
    for rule in policy.rules:
        storage = rule.selection.storage_class
        last[storage] = max(last.get(storage, 0), rule.rule_priority)
    for n, rule in enumerate(policy.rules):
        if rule.selection.tag_status == "any" and rule.rule_priority != last[rule.selection.storage_class]:
            yield f"$.rules[{n}].rulePriority", "a rule for any image must have the highest number"
