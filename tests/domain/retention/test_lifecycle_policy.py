"""The native grammar: what ECR takes and refuses, in words, and what it does to images by AWS's own examples."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.images.image import StorageStatus
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.domain.retention.lifecycle_compiler import UNSAID, compile_retention
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct, evaluate_lifecycle_policy
from chalicelib.domain.retention.lifecycle_policy import explain_lifecycle_policy, parse_lifecycle_policy
from chalicelib.domain.retention.retention import judge, resolve
from chalicelib.errors import RefusedPayloadError
from tests.fakes.lifecycle_oracle import native_acts
from tests.fakes.registries import HOME, NOW, digest, idle, repositories, retained, retention, sayable

EXPIRE = {"type": "expire"}
ARCHIVE = {"type": "transition", "targetStorageClass": "archive"}


def rule(priority: int, status: str, count: str, number: int, action: dict[str, str] = EXPIRE, **more: Any) -> Any:
    unit = {} if count == "imageCountMoreThan" else {"countUnit": "days"}
    selection = {"tagStatus": status, "countType": count, "countNumber": number, **unit, **more}
    return {"rulePriority": priority, "description": f"Rule {priority}", "selection": selection, "action": action}


def text(*rules: Any) -> str:
    return json.dumps({"rules": rules})


def acts(policy: str, *images: RetainedImage) -> dict[str, NativeAct]:
    found = evaluate_lifecycle_policy(parse_lifecycle_policy(policy), images, NOW)
    return {chr(ord("A") + int(name[7:], 16) - 1): act for name, act in found.items()}


def repository(*rows: tuple[tuple[str, ...], float]) -> list[RetainedImage]:
    """Image A, B, C, … with its tags, pushed so many days ago."""
    return [retained(n, *tags, days=days) for n, (tags, days) in enumerate(rows, 1)]


PROD = rule(1, "tagged", "imageCountMoreThan", 1, tagPrefixList=["prod"])
BETA = rule(2, "tagged", "imageCountMoreThan", 1, tagPrefixList=["beta"])
BETA_FIRST = rule(1, "tagged", "imageCountMoreThan", 1, tagPrefixList=["beta"])
PROD_SECOND = rule(2, "tagged", "imageCountMoreThan", 1, tagPrefixList=["prod"])
TWO_PREFIXES = repository((("beta-1", "prod-1"), 10), (("beta-2", "prod-2"), 9), (("beta-3",), 8))
ALPHA_BETA = repository(
    (("alpha-1",), 12),
    (("beta-1",), 11),
    (("alpha-2", "beta-2"), 10),
    (("alpha-3",), 4),
    (("beta-3",), 3),
    (("alpha-4", "beta-4"), 2),
)


# ---- AWS's examples


def test_age_expires_the_tagged_that_are_older() -> None:
    policy = text(rule(1, "tagged", "sinceImagePushed", 14, tagPatternList=["prod*"]))
    images = repository((("prod",), 15), (("prod-2",), 14), (("dev",), 90), ((), 90))
    assert set(acts(policy, *images)) == {"A"}


def test_count_keeps_one_untagged_image() -> None:
    images = repository(((), 3), ((), 2), ((), 1), (("a",), 9))
    assert set(acts(text(rule(1, "untagged", "imageCountMoreThan", 1)), *images)) == {"A", "B"}


def test_multiple_rules_example_a() -> None:
    assert acts(text(PROD, BETA), *TWO_PREFIXES) == {"A": NativeAct("expire", 1)}


def test_multiple_rules_example_b() -> None:
    assert set(acts(text(BETA_FIRST, PROD_SECOND), *TWO_PREFIXES)) == {"A", "B"}


def test_multiple_tags_example_a() -> None:
    policy = text(rule(1, "tagged", "sinceImagePushed", 5, tagPrefixList=["alpha", "beta"]))
    assert set(acts(policy, *ALPHA_BETA)) == {"C"}


def test_multiple_tags_example_b() -> None:
    images = repository(
        (("alpha-1", "beta-1", "gamma-1"), 10), (("alpha-2", "beta-2"), 9), (("alpha-3", "beta-3", "gamma-2"), 8)
    )
    policy = text(rule(1, "tagged", "imageCountMoreThan", 1, tagPrefixList=["alpha", "beta"]))
    assert set(acts(policy, *images)) == {"A", "B"}


def test_all_images_example_a() -> None:
    images = repository((("alpha-1",), 4), (("beta-1",), 3), ((), 2), (("alpha-2",), 1))
    assert set(acts(text(rule(1, "any", "imageCountMoreThan", 1)), *images)) == {"A", "B", "C"}


def test_all_images_example_b() -> None:
    """The newest image, E, is the second rule's: it counts as the one that stays, and the third rule takes D."""
    images = repository((("alpha-1", "beta-1"), 4), ((), 3), (("alpha-2",), 2), (("git-hash",), 1), ((), 0.9))
    policy = text(
        rule(1, "tagged", "imageCountMoreThan", 1, tagPrefixList=["alpha"]),
        rule(2, "untagged", "sinceImagePushed", 1),
        rule(3, "any", "imageCountMoreThan", 1),
    )
    assert {name: act.priority for name, act in acts(policy, *images).items()} == {"A": 1, "B": 2, "D": 3}


def test_archive_by_pulls() -> None:
    images = [
        retained(1, "a", days=200, pulled_at=NOW - timedelta(days=91)),
        retained(2, "b", days=200, pulled_at=NOW - timedelta(days=89)),
        retained(3, "c", days=91),
        retained(4, "d", days=200, activated_at=NOW - timedelta(days=10)),
    ]
    policy = text(rule(1, "any", "sinceImagePulled", 90, ARCHIVE))
    assert acts(policy, *images) == {"A": NativeAct("archive", 1), "C": NativeAct("archive", 1)}


@pytest.mark.parametrize(("days", "taken"), [(90, True), (89, False)])
def test_an_image_stays_in_the_archive_for_ninety_days(days: int, taken: bool) -> None:
    policy = text(rule(1, "any", "sinceImageTransitioned", days, storageClass="archive"))
    with nullcontext() if taken else pytest.raises(RefusedPayloadError, match="at least 90 days"):
        parse_lifecycle_policy(policy)


def test_archive_and_expire_combined() -> None:
    images = [
        retained(1, "a", days=31),
        retained(2, "b", days=900, storage=StorageStatus.ARCHIVED, archived_at=NOW - timedelta(days=366)),
        retained(3, "c", days=900, storage=StorageStatus.ARCHIVED, archived_at=NOW - timedelta(days=364)),
    ]
    policy = text(
        rule(1, "any", "sinceImagePushed", 30, ARCHIVE),
        rule(2, "any", "sinceImageTransitioned", 365, storageClass="archive"),
    )
    assert acts(policy, *images) == {"A": NativeAct("archive", 1), "B": NativeAct("expire", 2)}


def test_a_guard_protects_release_tags() -> None:
    images = repository((("v1", "dev"), 90), (("dev-2",), 90))
    policy = text(
        rule(1, "tagged", "imageCountMoreThan", 9999, tagPatternList=["v*"]), rule(2, "any", "sinceImagePushed", 7)
    )
    assert set(acts(policy, *images)) == {"B"}


def test_the_images_of_an_index_go_after_it_and_referrers_with_their_subject() -> None:
    images = [
        retained(1, days=90),
        retained(2, days=90),
        retained(3, "v1", days=9, contains=(digest(1),)),
        retained(4, "v2", days=1, contains=(digest(2),)),
        retained(5, days=90, subject=digest(3)),
        retained(6, days=90, subject=digest(4)),
    ]
    policy = text(rule(1, "untagged", "sinceImagePushed", 7), rule(2, "any", "imageCountMoreThan", 1))
    assert set(acts(policy, *images)) == {"A", "C", "E"}


# ---- what ECR refuses

BAD = [
    ("{}", "$", "missing required field `rules`"),
    (text(), "$.rules", "length >= 1"),
    (text(*[rule(n, "any", "imageCountMoreThan", 1) for n in range(1, 52)]), "$.rules", "length <= 50"),
    (text(rule(0, "any", "imageCountMoreThan", 1)), "$.rules[0].rulePriority", ">= 1"),
    (text(rule(1, "any", "imageCountMoreThan", 0)), "$.rules[0].selection.countNumber", ">= 1"),
    (text(rule(1, "all", "imageCountMoreThan", 1)), "$.rules[0].selection.tagStatus", "all"),
    (text(rule(1, "any", "imageCountMoreThan", 1, colour="red")), "$.rules[0].selection", "colour"),
    (text(rule(1, "any", "imageCountMoreThan", 1, countUnit="days")), "$.rules[0].selection.countUnit", "no unit"),
    (text(rule(1, "tagged", "imageCountMoreThan", 1)), "$.rules[0].selection", "needs tagPatternList or"),
    (
        text(rule(1, "tagged", "imageCountMoreThan", 1, tagPatternList=["a"], tagPrefixList=["b"])),
        "$.rules[0].selection",
        "and not both",
    ),
    (
        text(rule(1, "untagged", "imageCountMoreThan", 1, tagPrefixList=["b"])),
        "$.rules[0].selection.tagPrefixList",
        "goes with no list",
    ),
    (
        text(rule(1, "tagged", "imageCountMoreThan", 1, tagPatternList=["*a*b*c*d*"])),
        "$.rules[0].selection.tagPatternList",
        "more than 4 wildcards",
    ),
    (text(rule(1, "any", "sinceImagePulled", 9)), "$.rules[0].action.type", "only a transition"),
    (text(rule(1, "any", "sinceImageTransitioned", 90)), "$.rules[0].selection", "needs storageClass archive"),
    (
        text(rule(1, "any", "sinceImageTransitioned", 89, storageClass="archive")),
        "$.rules[0].selection.countNumber",
        "at least 90 days",
    ),
    (
        text(rule(1, "any", "sinceImagePushed", 9, storageClass="archive")),
        "$.rules[0].selection.storageClass",
        "sinceImageTransitioned alone",
    ),
    (
        text(rule(1, "any", "sinceImagePushed", 9, {"type": "transition"})),
        "$.rules[0].action.targetStorageClass",
        "a transition needs it",
    ),
    (
        text(rule(1, "untagged", "imageCountMoreThan", 1), rule(1, "any", "imageCountMoreThan", 1)),
        "$.rules[1].rulePriority",
        "another rule's already",
    ),
    (
        text(rule(1, "any", "imageCountMoreThan", 1), rule(2, "untagged", "imageCountMoreThan", 1)),
        "$.rules[0].rulePriority",
        "must have the highest number",
    ),
    (
        text(rule(1, "untagged", "imageCountMoreThan", 1), rule(2, "untagged", "sinceImagePushed", 1)),
        "$.rules[1].selection.tagStatus",
        "selects untagged images already",
    ),
    (
        text(PROD, rule(2, "tagged", "imageCountMoreThan", 1, tagPatternList=["prod*"])),
        "$.rules[1].selection",
        "selects the same tags already",
    ),
    ("[" * 20_000, "$", "Expected `object`, got `array`"),
    ('{"rules": ', "$", "not JSON"),
    (" " * 30_721, "$", "longer than the 30,720 characters"),
]


@pytest.mark.parametrize(("policy", "path", "reason"), BAD)
def test_a_policy_that_ecr_refuses_is_refused_with_its_place(policy: str, path: str, reason: str) -> None:
    with pytest.raises(RefusedPayloadError) as refused:
        parse_lifecycle_policy(policy)
    assert refused.value.path == path
    assert reason in refused.value.reason


def test_a_count_by_time_needs_its_unit() -> None:
    said = rule(1, "any", "sinceImagePushed", 9)
    del said["selection"]["countUnit"]
    with pytest.raises(RefusedPayloadError, match='needs "days"'):
        parse_lifecycle_policy(text(said))


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5).map(json.dumps)
)
def test_whatever_else_is_given_is_refused_and_nothing_worse(policy: str) -> None:
    with pytest.raises(RefusedPayloadError):
        parse_lifecycle_policy(policy)


def test_a_policy_explains_itself_in_the_order_it_applies() -> None:
    policy = parse_lifecycle_policy(
        text(
            rule(9, "any", "imageCountMoreThan", 1000),
            rule(2, "untagged", "sinceImagePushed", 1),
            rule(3, "tagged", "sinceImagePulled", 90, ARCHIVE, tagPatternList=["a*", "b*"]),
            rule(4, "any", "sinceImageTransitioned", 365, storageClass="archive"),
        )
    )
    assert explain_lifecycle_policy(policy) == (
        "2. Expire untagged images pushed (or restored) more than 1 day ago.",
        "3. Archive images with a tag like `a*` and one like `b*` not pulled for more than 90 days "
        "(never pulled: since the push).",
        "4. Expire archived images (tagged or not) that have been in the archive for more than 365 days.",
        "9. Of the images (tagged or not), the newest 1,000 stay; expire the others.",
    )


# ---- our rules, said natively

UNSAYABLE = [
    ({"keep": {"newest_per_minor": 3}}, "newest_per_minor"),
    ({"keep": {"newest": 3, "pushed_within_days": 9}}, "newest and pushed_within_days: a native rule has one count"),
    ({"keep": {"tag": "v*"}}, "keep names no count"),
    ({"keep": {"newest": 0}}, "newest: a count is at least 1"),
    ({"keep": {"pulled_within_days": 9}}, "by pulls ECR archives"),
    ({"keep": {"newest": 3, "tag": ["v*", "!v0*"]}}, "'!v0*': ECR has no exclusions"),
    ({"keep": {"newest": 3, "tag": "v?"}}, "'v?': ECR knows `*` alone"),
    ({"keep": {"newest": 3, "tag": "a/b"}}, "'a/b': no tag of ECR has such characters"),
    ({"keep": {"newest": 3, "tag": "*a*b*c*d*"}}, "at most 4 wildcards"),
    ({"keep": {"newest": 3, "tag": [f"t{n}" for n in range(49)]}}, "ECR takes 50"),
    ({"keep": {"newest": 3}, "untagged_after_days": None}, "untagged_after_days is not said"),
    ({"keep": {"newest": 3}, "untagged_after_days": 0}, "untagged_after_days: a count is at least 1"),
    ({"keep": {"pulled_within_days": 9}, "action": "archive"}, "differs from pulled_within_days"),
]


@pytest.mark.parametrize(("said", "reason"), UNSAYABLE)
def test_a_rule_that_the_grammar_cannot_say_is_refused_with_the_reason(said: dict[str, Any], reason: str) -> None:
    whole = {"untagged_after_days": 7, **said}
    compiled = compile_retention(retention(**{k: v for k, v in whole.items() if v is not None}))
    assert compiled.policy is None
    assert any(reason in refusal for refusal in compiled.refusals), compiled.refusals


def test_a_rule_becomes_guards_and_one_count() -> None:
    compiled = compile_retention(retention(keep={"newest": 20, "tag": ["v*", "latest", "v*"]}, untagged_after_days=7))
    assert compiled.policy is not None
    assert explain_lifecycle_policy(compiled.policy) == (
        "1. All images with a tag like `v*` stay, and no later rule takes them.",
        "2. All images with a tag like `latest` stay, and no later rule takes them.",
        "3. Expire untagged images pushed (or restored) more than 7 days ago.",
        "4. Of the images with a tag like `*`, the newest 20 stay; expire the others.",
    )
    assert compiled.unsaid == UNSAID


@given(sayable())
@settings(max_examples=100, deadline=None)
def test_what_is_compiled_is_what_ecr_takes(said: Retention) -> None:
    policy = compile_retention(said).policy
    assert policy is not None
    assert parse_lifecycle_policy(policy.text) == policy
    assert len(policy.text) >= 100, "ECR takes no shorter one"


@given(repositories(plain=True), sayable())
@settings(max_examples=1000, deadline=None)
def test_a_compiled_policy_takes_what_our_planner_takes(images: list[RetainedImage], said: Retention) -> None:
    policy = compile_retention(said).policy
    assert policy is not None
    judged = judge(HOME, images, [said], NOW)
    plan = resolve(judged, idle(*judged.candidates), {})
    native = evaluate_lifecycle_policy(policy, images, NOW)
    assert {f.image.digest: plan.action for f in plan.wanted} == {d: act.action for d, act in native.items()}


def test_the_text_of_a_policy_says_nothing_but_what_was_written() -> None:
    policy = parse_lifecycle_policy(text(PROD, BETA))
    assert msgspec.json.decode(policy.text) == {"rules": [PROD, BETA]}


def test_a_signature_kept_as_a_tag_is_an_image_like_others_to_ecr() -> None:
    policy = compile_retention(retention(keep={"newest": 1}, untagged_after_days=7)).policy
    assert policy is not None
    signed = retained(1, "v1", days=5)
    signature = retained(2, f"sha256-{signed.digest[7:]}.sig", days=1, subject=signed.digest)
    assert evaluate_lifecycle_policy(policy, [signed, signature], NOW) == {signed.digest: NativeAct("expire", 2)}


@settings(max_examples=200, deadline=None)
@given(repositories(plain=True), sayable())
def test_a_second_evaluation_gives_the_same_acts(images: list[RetainedImage], said: Retention) -> None:
    policy = compile_retention(said).policy
    assert policy is not None
    assert native_acts(json.loads(policy.text), images, NOW) == evaluate_lifecycle_policy(policy, images, NOW)
