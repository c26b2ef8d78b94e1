"""Which images stay and which go, and that nothing goes that must not."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import ImageDetail, InUse, InUseState, Repository, StorageStatus
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import QUARANTINED, WAIVED, Guard, RetainedImage, retained_image, within
from chalicelib.domain.retention.plan import RetentionPlan, stages
from chalicelib.domain.retention.retention import JudgedRepository, judge, resolve, rule_for
from tests.fakes.registries import HOME, NOW, digest, idle, repositories, retained, retention, rules, uses

FEW = settings(max_examples=300, deadline=None)


def planned(images: list[RetainedImage], *policy: Retention) -> RetentionPlan:
    """Nothing runs, and all replicas are there."""
    judged = judge(HOME, images, policy, NOW)
    return resolve(judged, idle(*judged.candidates), {})


def taken(plan: RetentionPlan) -> set[int]:
    return {int(fate.image.digest[7:], 16) for fate in plan.wanted}


def why(plan: RetentionPlan, number: int) -> str:
    fate = next(f for f in plan.decisions if f.image.digest == digest(number))
    return f"{fate.by}: {fate.why}"


# ---- the rules, one by one


def test_the_newest_by_push_stay_and_the_others_go() -> None:
    plan = planned([retained(n, f"t{n}", days=n) for n in range(1, 5)], retention(keep={"newest": 2}, max_share=1))
    assert taken(plan) == {3, 4}
    assert why(plan, 1) == "retention[0].keep.newest: one of the newest 2"
    assert why(plan, 3) == "retention[0]: nothing of `keep` holds: pushed 3 days ago"


def test_any_part_of_keep_is_enough() -> None:
    images = [
        retained(1, "a", days=50),
        retained(2, "b", days=50, pulled_at=NOW - timedelta(days=3)),
        retained(3, "release-1", days=50),
        retained(4, "c", days=2),
    ]
    rule = retention(keep={"pulled_within_days": 5, "pushed_within_days": 5, "tag": "release-*"}, max_share=1)
    assert taken(planned(images, rule)) == {1}


def test_a_day_counts_to_its_last_moment() -> None:
    rule = retention(keep={"pushed_within_days": 5}, max_share=1)
    exact = retained(1, "a", days=5)
    later = retained(2, "b", pushed_at=NOW - timedelta(days=5, seconds=1))
    assert taken(planned([exact, later], rule)) == {2}


def test_a_restore_counts_as_a_push_and_as_a_pull() -> None:
    restored = retained(1, "a", days=50, activated_at=NOW - timedelta(days=1))
    for key in ("pushed_within_days", "pulled_within_days"):
        assert not taken(planned([restored], retention(keep={key: 5}, max_share=1)))


def test_one_that_was_never_pulled_counts_from_its_push() -> None:
    rule = retention(keep={"pulled_within_days": 5}, max_share=1)
    assert taken(planned([retained(1, "a", days=4), retained(2, "b", days=6)], rule)) == {2}


def test_of_each_minor_version_the_newest_stay() -> None:
    images = [retained(n, tag, days=10 - n) for n, tag in enumerate(("v1.0.0", "v1.0.1", "v1.1.0", "v1.1.1", "x"), 1)]
    plan = planned(images, retention(keep={"newest_per_minor": 1}, max_share=1))
    assert taken(plan) == {1, 3, 5}
    assert why(plan, 2) == "retention[0].keep.newest_per_minor: one of the newest 1 of 1.0"


def test_an_excluded_tag_keeps_nothing_and_another_tag_still_does() -> None:
    rule = retention(keep={"tag": ["v*", "!v0*"]}, max_share=1)
    images = [retained(1, "v0.1", days=1), retained(2, "v0.2", "v1.0", days=1)]
    assert taken(planned(images, rule)) == {1}


def test_untagged_images_have_a_time_of_their_own() -> None:
    rule = retention(keep={"newest": 5, "pushed_within_days": 30}, untagged_after_days=7, max_share=1)
    plan = planned([retained(1, days=8), retained(2, days=6), retained(3, "a", days=8)], rule)
    assert taken(plan) == {1}
    assert why(plan, 2) == "retention[0].untagged_after_days: untagged, and pushed only 6 days ago"


def test_untagged_images_that_are_pulled_by_digest_stay() -> None:
    rule = retention(keep={"pulled_within_days": 30}, untagged_after_days=7, max_share=1)
    assert not taken(planned([retained(1, days=20, pulled_at=NOW - timedelta(days=2))], rule))


def test_without_untagged_after_days_untagged_images_stay() -> None:
    plan = planned([retained(1, days=900)], retention(keep={"newest": 0}, max_share=1))
    assert why(plan, 1) == "untagged: untagged, and the rule has no `untagged_after_days`"


def test_the_first_rule_that_names_the_repository_counts() -> None:
    first, second = (
        retention(repository="other/*", keep={"newest": 0}),
        retention(repository="team/*", keep={"newest": 1}),
    )
    assert rule_for(HOME, (first, second)) == (1, second)
    assert rule_for(HOME, (first,)) is None
    plan = planned([retained(1, "a")], first)
    assert why(plan, 1) == "no rule: no rule of `retention` names this repository"


def test_a_public_repository_has_no_rule() -> None:
    assert rule_for(Repository("public/alias", "us-east-1", "api"), (retention(keep={"newest": 1}),)) is None


# ---- indexes and referrers


def test_an_index_that_stays_keeps_its_images() -> None:
    images = [retained(1, days=90), retained(2, days=90), retained(3, "v1", days=1, contains=(digest(1), digest(2)))]
    plan = planned(images, retention(keep={"newest": 1}, untagged_after_days=7, max_share=1))
    assert not taken(plan)
    assert why(plan, 1) == f"index: needed by the index {digest(3)[:19]} (v1)"


def test_an_index_takes_its_images_along() -> None:
    images = [retained(1, days=90), retained(2, "v1", days=9, contains=(digest(1),)), retained(3, "v2", days=1)]
    assert taken(planned(images, retention(keep={"newest": 1}, max_share=1))) == {1, 2}


def test_an_image_that_another_index_needs_stays() -> None:
    shared = retained(1, days=90)
    images = [
        shared,
        retained(2, "v1", days=9, contains=(digest(1),)),
        retained(3, "v2", days=1, contains=(digest(1),)),
    ]
    assert taken(planned(images, retention(keep={"newest": 1}, max_share=1))) == {2}


def test_the_images_of_an_index_that_went_before_them_go_too() -> None:
    orphan = retained(1, days=90, parents=(digest(99),))
    assert taken(planned([orphan, retained(2, "v2", days=1)], retention(keep={"newest": 1}, max_share=1))) == {1}


def test_an_index_that_nobody_could_read_keeps_everything() -> None:
    images = [retained(1, days=90), retained(2, "old", days=90), retained(3, "v1", days=1, contains=None)]
    plan = planned(images, retention(keep={"newest": 1}, untagged_after_days=7, max_share=1))
    assert not taken(plan)
    assert "whose images could not be read" in why(plan, 2)


def test_a_signature_stays_and_goes_with_what_it_signs() -> None:
    images = [
        retained(1, "v1", days=90),
        retained(2, days=90, subject=digest(1)),
        retained(3, "v2", days=1),
        retained(4, days=90, subject=digest(3)),
        retained(5, days=90, subject=digest(4)),
    ]
    plan = planned(images, retention(keep={"newest": 1}, untagged_after_days=7, max_share=1))
    assert taken(plan) == {1, 2}
    assert why(plan, 5) == f"subject: stays with its subject {digest(4)[:19]}"


def test_signatures_are_not_counted_among_the_newest() -> None:
    signature = retained(2, f"sha256-{digest(1)[7:]}.sig", days=0, subject=digest(1))
    images = [retained(1, "v1", days=3), signature, retained(3, "v0", days=9)]
    assert taken(planned(images, retention(keep={"newest": 1}, max_share=1))) == {3}


def test_whoever_holds_another_goes_first() -> None:
    images = [
        retained(1),
        retained(2, contains=(digest(1),)),
        retained(3, subject=digest(2)),
        retained(4, subject=digest(1)),
    ]
    assert stages(images) == [(digest(3), digest(4)), (digest(2),), (digest(1),)]


# ---- what nothing takes

GUARDED = [Guard(QUARANTINED, "held"), Guard(WAIVED, "waived by w-1")]


@pytest.mark.parametrize("guard", GUARDED)
def test_what_is_quarantined_or_waived_stays(guard: Guard) -> None:
    plan = planned([retained(1, "a", days=900, guard=guard)], retention(keep={"newest": 0}, max_share=1))
    assert why(plan, 1) == f"{guard.by}: {guard.why}"


def test_what_is_archived_or_being_restored_stays() -> None:
    images = [retained(1, "a", storage=StorageStatus.ARCHIVED), retained(2, "b", storage=StorageStatus.ACTIVATING)]
    assert not taken(planned(images, retention(keep={"newest": 0}, max_share=1)))


def test_an_image_without_a_push_time_stays() -> None:
    plan = planned([retained(1, "a", pushed_at=None)], retention(keep={"newest": 0}, max_share=1))
    assert why(plan, 1) == "no push time: ECR does not say when it was pushed"


@pytest.mark.parametrize("state", [InUseState.YES, InUseState.UNKNOWN])
def test_what_runs_or_may_run_stays(state: InUseState) -> None:
    judged = judge(HOME, [retained(1, "a", days=9)], [retention(keep={"newest": 0}, max_share=1)], NOW)
    plan = resolve(judged, {digest(1): InUse(state, looked=True)}, {})
    assert not plan.wanted
    assert plan.decisions[0].by == "running"


def test_what_nobody_looked_up_stays_and_counts_for_the_limit() -> None:
    images = [retained(n, f"t{n}", days=9) for n in range(1, 5)]
    judged = judge(HOME, images, [retention(keep={"newest": 0}, max_share=0.25)], NOW)
    plan = resolve(judged, idle(digest(1)), {})
    assert taken(plan) == {1}
    assert plan.stopped.startswith("4 of 4 images would go")


def test_an_image_whose_replica_is_not_there_stays() -> None:
    judged = judge(
        HOME, [retained(1, "a", days=9), retained(2, "b", days=9)], [retention(keep={"newest": 0}, max_share=1)], NOW
    )
    found = idle(digest(1), digest(2))
    plan = resolve(judged, found, {digest(1): "not in eu-central-1 yet"})
    assert taken(plan) == {2}
    assert why(plan, 1) == "replica: not in eu-central-1 yet"
    assert not resolve(judged, found, None).wanted, "what could not be looked up keeps"


def test_more_than_the_share_stops_the_whole_repository() -> None:
    plan = planned([retained(n, f"t{n}", days=n) for n in range(1, 11)], retention(keep={"newest": 7}, max_share=0.2))
    assert taken(plan) == {8, 9, 10}
    assert not plan.takes
    assert plan.stopped == "3 of 10 images would go, more than max_share (0.2) allows at once"


def test_more_than_the_absolute_number_stops_it_too() -> None:
    images = [retained(n, f"t{n}", days=n) for n in range(1, 6)]
    plan = planned(images, retention(keep={"newest": 1}, max_share=1, max_images=3))
    assert plan.stopped == "4 images would go, more than max_images (3) allows at once"
    assert not plan.takes


def test_as_much_as_the_share_may_go() -> None:
    plan = planned([retained(n, f"t{n}", days=n) for n in range(1, 11)], retention(keep={"newest": 8}, max_share=0.2))
    assert len(plan.takes) == 2


# ---- the id


def test_the_id_changes_with_digests_tags_and_in_use_and_not_with_pulls() -> None:
    rule = retention(keep={"newest": 1}, max_share=1)
    images = [retained(1, "a", days=9), retained(2, "b", days=1)]
    plan = planned(images, rule)
    assert planned(images, rule).id == plan.id
    pulled = msgspec.structs.replace(images[1], pulled_at=NOW)
    assert planned([images[0], pulled], rule).id == plan.id
    retagged = msgspec.structs.replace(images[1], tags=("b", "c"))
    judged = judge(HOME, images, [rule], NOW)
    others = {
        planned([images[0], retagged], rule).id,
        planned([*images, retained(3, "d", days=2)], rule).id,
        planned(images, retention(keep={"newest": 1}, max_share=0.9)).id,
        resolve(judged, {digest(1): InUse(InUseState.YES)}, {}).id,
        resolve(judged, {digest(1): InUse(InUseState.UNKNOWN)}, {}).id,
    }
    assert len(others | {plan.id}) == 6


# ---- whatever the registry is


@st.composite
def limited_rules(draw: st.DrawFn) -> Retention:
    share, most = draw(st.sampled_from((0.1, 0.5, 1.0))), draw(st.sampled_from((1, 3, 1000)))
    rule: Retention = draw(rules(max_share=share, max_images=most))
    return rule


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[RetainedImage], JudgedRepository, dict[str, InUse], dict[str, str]]:
    images, rule = draw(repositories()), draw(limited_rules())
    judged = judge(HOME, images, [rule], NOW)
    found = draw(uses(judged.candidates))
    missing = draw(
        st.dictionaries(st.sampled_from([i.digest for i in images] or [digest(1)]), st.just("not there"), max_size=2)
    )
    return images, judged, found, missing


@FEW
@given(cases())
def test_nothing_running_quarantined_waived_or_needed_is_ever_taken(
    case: tuple[list[RetainedImage], JudgedRepository, dict[str, InUse], dict[str, str]],
) -> None:
    images, judged, found, missing = case
    plan = resolve(judged, found, missing)
    gone = {fate.image.digest for fate in plan.wanted}
    kept = [image for image in images if image.digest not in gone]
    known = {image.digest: image for image in images}
    for image in images:
        if image.digest in gone:
            assert image.guard is None
            assert not any(known[digest].guard for digest in within(image.digest, known))
            assert found[image.digest].state is InUseState.NO
            assert image.digest not in missing
            assert image.storage is not StorageStatus.ACTIVATING
    archived = judged.rule is not None and judged.rule.action == "archive"
    for index in kept:
        idle_already = archived and index.storage is StorageStatus.ARCHIVED and index.guard is None
        assert index.contains is not None or not gone
        assert idle_already or not gone & set(index.contains or ())
        assert idle_already or not {i.digest for i in images if i.goes_with == index.digest} & gone
        assert idle_already or index.attached or index.subject not in gone


@FEW
@given(cases())
def test_the_limits_are_never_exceeded(
    case: tuple[list[RetainedImage], JudgedRepository, dict[str, InUse], dict[str, str]],
) -> None:
    _, judged, found, missing = case
    plan = resolve(judged, found, missing)
    assert judged.rule is not None
    served = [f for f in plan.decisions if f.taken or f.image.storage is not StorageStatus.ARCHIVED]
    assert len(plan.takes) <= min(judged.rule.max_share * len(served), judged.rule.max_images)


@FEW
@given(cases(), st.integers(0, 2**32))
def test_the_plan_is_the_same_in_whatever_order_the_images_come(
    case: tuple[list[RetainedImage], JudgedRepository, dict[str, InUse], dict[str, str]], seed: int
) -> None:
    images, judged, found, missing = case
    assert judged.rule is not None
    mixed = [*images, *images[:2]]
    Random(seed).shuffle(mixed)
    again = judge(HOME, mixed, [judged.rule], NOW)
    assert resolve(again, found, missing) == resolve(judged, found, missing)


@FEW
@given(cases(), st.integers(0, 40))
def test_whoever_is_stopped_anywhere_on_the_way_ends_the_same(
    case: tuple[list[RetainedImage], JudgedRepository, dict[str, InUse], dict[str, str]], stop: int
) -> None:
    """What is left after some of the images are gone is planned anew: the rest goes, and nothing else."""
    images, judged, found, missing = case
    assert judged.rule is not None
    if set(judged.candidates) - found.keys():
        return
    plan = resolve(judged, found, missing)
    order = [d for stage in stages([f.image for f in plan.takes]) for d in stage]
    done = set(order[:stop])
    left = [left_of(image, judged.rule.action) if image.digest in done else image for image in images]
    known = [told_of_its_indexes(image, images) for image in left if image is not None]
    again = resolve(judge(HOME, known, [judged.rule], NOW), found, missing)
    assert done | {f.image.digest for f in again.takes} == set(order)


def left_of(image: RetainedImage, action: str) -> RetainedImage | None:
    return msgspec.structs.replace(image, storage=StorageStatus.ARCHIVED) if action == "archive" else None


def told_of_its_indexes(image: RetainedImage, images: list[RetainedImage]) -> RetainedImage:
    """As the table remembers it, also of an index that is gone."""
    parents = tuple(sorted(i.digest for i in images if image.digest in (i.contains or ())))
    return msgspec.structs.replace(image, parents=parents)


# ---- what must not slip through


def test_an_image_tagged_by_its_own_digest_is_no_signature_of_itself() -> None:
    name = digest(7).replace(":", "-")
    detail = ImageDetail(HOME.image(digest(7)), (name,), NOW, media_type="application/vnd.oci.image.manifest.v1+json")
    assert retained_image(detail, None, None, Rules(Policy(version=1)), NOW).subject is None


def test_a_tag_to_be_kept_keeps_what_refers_to_an_image_that_is_gone() -> None:
    images = [retained(1, "a", days=1), retained(2, "v1.0.0", days=90, subject=digest(9))]
    rule = retention(keep={"newest": 1, "tag": "v*"}, untagged_after_days=7, max_share=1)
    assert taken(planned(images, rule)) == set()


def test_a_platform_that_is_pulled_by_digest_outlives_its_index() -> None:
    images = [
        retained(1, days=90, pulled_at=NOW - timedelta(days=1)),
        retained(2, "v1", days=80, contains=(digest(1),)),
        retained(3, "v2", days=1),
    ]
    rule = retention(keep={"newest": 1, "pulled_within_days": 30}, max_share=1)
    assert taken(planned(images, rule)) == {2}


@pytest.mark.parametrize("by", [QUARANTINED, WAIVED])
def test_the_indexes_of_a_waived_or_quarantined_image_stay(by: str) -> None:
    images = [
        retained(1, days=90, guard=Guard(by, "by w-1")),
        retained(2, days=80, contains=(digest(1),)),
        retained(3, "v1", days=80, contains=(digest(2),)),
        retained(4, "v2", days=1),
    ]
    plan = planned(images, retention(keep={"newest": 1}, untagged_after_days=7, max_share=1))
    assert taken(plan) == set()
    assert why(plan, 3) == f"{by}: it holds {digest(1)[:19]}: by w-1"


def test_what_lies_archived_makes_no_share_bigger() -> None:
    archived = [retained(n, days=90, storage=StorageStatus.ARCHIVED) for n in range(10, 30)]
    active = [retained(n, f"t{n}", days=n) for n in range(1, 5)]
    plan = planned([*archived, *active], retention(keep={"newest": 1}, max_share=0.5))
    assert plan.stopped == "3 of 4 images would go, more than max_share (0.5) allows at once"


def test_a_share_is_reckoned_as_people_reckon() -> None:
    images = [retained(n, f"t{n}", days=n) for n in range(100)]
    assert planned(images, retention(keep={"newest": 71}, max_share=0.29)).stopped == ""


def test_what_went_earlier_in_the_run_counts_for_both_limits() -> None:
    images = [retained(n, f"t{n}", days=n) for n in range(1, 11)]
    judged = judge(HOME, images, [retention(keep={"newest": 8}, max_share=0.3, max_images=5)], NOW)
    look = idle(*judged.candidates)
    assert resolve(judged, look, {}, gone=1).stopped == ""
    assert resolve(judged, look, {}, gone=3).stopped == (
        "5 of 13 images would go, more than max_share (0.3) allows at once"
    )
    judged = judge(HOME, images, [retention(keep={"newest": 8}, max_share=1, max_images=5)], NOW)
    assert resolve(judged, look, {}, gone=4).stopped == "6 images would go, more than max_images (5) allows at once"
