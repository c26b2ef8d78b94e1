"""Who is asked about before retention takes anything: what is attached asks for nothing, and time has an end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.usage.runtime import AwsRuntime
from chalicelib.domain.images.image import InUse, InUseState, Kind
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.services.ports.registry import Subject
from chalicelib.services.retention.plan_retention import plan_retention
from chalicelib.services.usage.find_image_uses import uses_of
from tests.fakes.estate import Estate
from tests.fakes.registries import HOME, NOW, digest, retained
from tests.services.retaining import Retaining, replaced

NEWEST = {"keep": {"newest": 1}, "max_share": 1.0}
COSIGN = f"sha256-{digest(1)[7:]}.sig"


def signed(number: int, *, attached: bool = True) -> Retaining:
    """An old image, so many signatures of it (`attached`, or images that say they are), and a new one."""
    images = [retained(1, "v1", days=90), retained(2, "v2", days=1)]
    signatures = [retained(100 + n, days=90, subject=digest(1), attached=attached) for n in range(number)]
    return Retaining([*images, *signatures], {**NEWEST, "untagged_after_days": 30})


def test_hundreds_of_signatures_of_one_image_ask_nothing_of_their_own() -> None:
    world = signed(300)
    world.sweep()
    assert world.left == {digest(2)}
    assert {subject.ref.digest for subject in world.runtime.asked} == {digest(1)}
    assert len(world.runtime.asked) == 2, "once for the plan, once before it is taken"


def test_signatures_stay_where_what_they_sign_runs() -> None:
    world = signed(3)
    world.runtime.run(HOME.image(digest(1)))
    world.sweep()
    assert len(world.left) == 5


def test_whoever_runs_a_signature_by_its_digest_keeps_it_and_what_it_signs() -> None:
    world = signed(3)
    world.runtime.run(HOME.image(digest(101)))
    world.sweep()
    assert len(world.left) == 5


def test_an_image_that_names_a_subject_may_be_started_by_itself_and_is_asked_about() -> None:
    world = signed(2, attached=False)
    world.sweep()
    assert {subject.ref.digest for subject in world.runtime.asked} == {digest(1), digest(100), digest(101)}


def provenance(kind: Kind = Kind.ARTIFACT) -> Retaining:
    """An index as buildx makes it: an image and an attestation. `kind`: what the manifest of that makes it."""
    images = [
        retained(1, days=90),
        retained(2, days=90),
        retained(3, "v1", days=90, contains=(digest(1), digest(2))),
        retained(4, "v2", days=1),
    ]
    world = Retaining(images, NEWEST)
    ref = HOME.image(digest(2))
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], kind=kind)
    return world


def in_eks(world: Retaining, *numbers: int) -> Estate:
    """Inspector covers these."""
    estate = Estate()
    estate.home.eks = ["apps"]
    for number in numbers:
        estate.home.cover(HOME.image(digest(number)))
    world.runtime = AwsRuntime(estate.client, lambda: NOW, pause=lambda _: None)
    return estate


def test_beside_a_cluster_an_index_goes_with_its_attestation_which_no_scanner_knows() -> None:
    world = provenance()
    in_eks(world, 1)
    world.sweep()
    assert world.left == {digest(4)}


@pytest.mark.parametrize("how", ["an image", "an artifact by an older version"])
def test_an_index_that_calls_an_image_an_attestation_hides_nothing_that_runs(how: str) -> None:
    """Anyone who may push an index may say so of any image."""
    world = provenance(Kind.IMAGE)
    estate = in_eks(world, 1, 2)
    arn, ref = HOME.image(digest(2)).arn, HOME.image(digest(2))
    estate.home.workloads[arn] = [{"clusterArn": "arn:aws:eks:eu-west-1:111122223333:cluster/apps"}]
    if how != "an image":
        stored = msgspec.structs.replace(world.stored.headers[ref], kind=Kind.ARTIFACT, kind_read=False)
        world.stored.headers[ref] = stored
    world.sweep()
    assert len(world.left) == 4


def test_beside_a_cluster_what_an_index_holds_and_may_be_started_keeps_it_unless_it_is_covered() -> None:
    """WebAssembly in an index is no container image, and starts all the same."""
    world = provenance(Kind.IMAGE)
    in_eks(world, 1)
    world.sweep()
    assert len(world.left) == 4


def test_beside_a_cluster_a_signature_goes_with_its_subject() -> None:
    world = signed(3)
    in_eks(world, 1)
    world.sweep()
    assert world.left == {digest(2)}


def test_beside_a_cluster_a_signature_kept_as_a_tag_goes_too() -> None:
    world = Retaining(
        [retained(1, "v1", days=90), retained(2, "v2", days=1), retained(5, COSIGN, days=90, subject=digest(1))], NEWEST
    )
    replaced(world, digest(5), subject_digest=None)
    ref = HOME.image(digest(5))
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], subject=None)
    in_eks(world, 1)
    world.sweep()
    assert world.left == {digest(2)}


def test_beside_a_cluster_what_a_death_left_of_an_index_is_cleared_away() -> None:
    world = provenance()
    in_eks(world, 1)
    for gone in (1, 3):
        del world.keeper.rows[digest(gone)]
    world.stored.headers[HOME.image(digest(2))] = msgspec.structs.replace(
        world.stored.headers[HOME.image(digest(2))], parents=(digest(3),)
    )
    world.sweep()
    assert world.left == {digest(4)}


def test_inspector_is_asked_once_for_each_digest() -> None:
    platforms = [retained(n, days=90) for n in range(1, 7)]
    index = retained(7, "v1", days=90, contains=tuple(digest(n) for n in range(1, 7)))
    world = Retaining([*platforms, index, retained(8, "v2", days=1)], NEWEST)
    estate = in_eks(world, *range(1, 7))
    plan = plan_retention(HOME, world).plan  # type: ignore[arg-type]
    assert len(plan.takes) == 7
    assert estate.asked("GetClustersForImage") == 7


# ---- time


class Slow:
    """A runtime that takes so many seconds for each question."""

    def __init__(self, world: Retaining, seconds: float) -> None:
        self._world, self._seconds, self.asked = world, timedelta(seconds=seconds), list[Subject]()

    def in_use(self, subject: Subject, since: datetime | None = None) -> InUse:
        self.asked.append(subject)
        self._world.moment += self._seconds
        return InUse(InUseState.NO, seen_at=self._world.moment, looked=True)


def many(number: int = 30) -> list[RetainedImage]:
    return [retained(n, f"t{n}", days=n) for n in range(1, number + 1)]


def watched(world: Retaining) -> list[float]:
    """How many seconds each message took, as they are handled."""
    spent: list[float] = []
    former: Callable[..., None] = world.send

    def send(queue: str, message: Any, delay_seconds: float = 0) -> None:
        former(queue, message, delay_seconds)
        spent.append((world.moment - NOW).total_seconds())

    world.send = send  # type: ignore[method-assign]
    return spent


def test_what_there_is_no_time_for_is_the_next_messages_business_and_nothing_is_taken_twice() -> None:
    world = Retaining(many(), NEWEST)
    world.runtime = Slow(world, 6)
    ends = watched(world)
    world.sweep()
    assert world.left == {digest(1)}
    assert len(world.keeper.log) == 29
    assert world.parts > 6
    lasted = [end - begin for begin, end in zip([0.0, *ends], ends, strict=False)]
    assert max(lasted) <= 31, "the last question may be asked at 25 seconds"
    assert world.stored.repositories[HOME]["retention"]["taken"] == 29


def test_what_goes_together_and_takes_too_long_stays_and_holds_up_nothing_else() -> None:
    platforms = [retained(n, days=90) for n in range(1, 9)]
    index = retained(9, "v1", days=90, contains=tuple(digest(n) for n in range(1, 9)))
    world = Retaining([*platforms, index, retained(10, "v2", days=60), retained(11, "v3", days=1)], NEWEST)
    world.runtime = Slow(world, 6)
    world.sweep()
    assert world.left == {*(digest(n) for n in range(1, 10)), digest(11)}
    plan = plan_retention(HOME, world, until=world.moment).plan  # type: ignore[arg-type]
    why = next(fate.why for fate in plan.decisions if fate.image.digest == digest(9))
    assert why == "whether it runs cannot be told: there was no time to look for all that goes together"
    patient = plan_retention(HOME, world).plan  # type: ignore[arg-type]
    assert len(patient.takes) == 9, "whoever has the time takes it"


def test_however_late_it_is_one_group_is_looked_at() -> None:
    world = Retaining(many(4), NEWEST)
    planned = plan_retention(HOME, world, until=NOW - timedelta(minutes=1))  # type: ignore[arg-type]
    assert planned.plan.takes


def test_a_plan_that_ran_out_of_time_says_so() -> None:
    world = Retaining(many(), NEWEST)
    world.runtime = Slow(world, 6)
    planned = plan_retention(HOME, world, until=NOW + timedelta(seconds=12))  # type: ignore[arg-type]
    assert (len(planned.plan.takes), planned.in_time) == (2, False)
    assert planned.next is not None


def test_what_refers_in_a_circle_is_asked_about_and_ends() -> None:
    images = [retained(n, days=90, subject=digest(3 - n), attached=True) for n in (1, 2)]
    world = Retaining([], NEWEST)
    uses = uses_of(HOME, images, [digest(1), digest(2)], world)  # type: ignore[arg-type]
    assert {use.state for use in uses.values()} == {InUseState.NO}
