"""Bytes and dollars of a plan: shared layers once, what is not known at most, 90 days of archive. How far a run is."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib.domain.policy.section import Retention
from chalicelib.domain.retention.image import Layer, RetainedImage
from chalicelib.domain.retention.plan import GB, RetentionPlan, RetentionProgress, RetentionResult, freed_by
from chalicelib.domain.retention.retention import judge, resolve
from tests.fakes.registries import HOME, NOW, digest, idle, retained, retention

BASE, OLD, NEW = (Layer(f"sha256:{c * 64}", size) for c, size in (("a", GB), ("b", 2 * GB), ("c", 4 * GB)))


def planned(images: list[RetainedImage], rule: Retention) -> RetentionPlan:
    judged = judge(HOME, images, [rule], NOW)
    return resolve(judged, idle(*judged.candidates), {})


EXPIRE = retention(keep={"newest": 1}, max_share=1)
ARCHIVE = retention(keep={"newest": 1}, action="archive", max_share=1)
IMAGES = [retained(n, f"t{n}", days=n, size_bytes=10 * GB) for n in (1, 2, 3)]


def test_a_layer_that_what_stays_needs_frees_nothing_and_a_shared_one_counts_once() -> None:
    layers = {digest(1): (BASE, NEW), digest(2): (BASE, OLD), digest(3): (BASE, OLD)}
    freed = freed_by(planned(IMAGES, EXPIRE), layers)
    assert (freed.size_bytes, freed.at_most) == (2 * GB, False)
    assert freed.dollars_a_month == pytest.approx(0.2)
    assert freed.committed_dollars == 0


def test_what_is_taken_without_known_layers_frees_at_most_its_size() -> None:
    freed = freed_by(planned(IMAGES, EXPIRE), {digest(1): (BASE,), digest(2): (BASE, OLD)})
    assert (freed.size_bytes, freed.at_most) == (12 * GB, True)


def test_what_stays_without_known_layers_may_share_them() -> None:
    freed = freed_by(planned(IMAGES, EXPIRE), {digest(2): (BASE,), digest(3): (OLD,)})
    assert (freed.size_bytes, freed.at_most) == (3 * GB, True)


def test_the_archive_saves_nothing_and_binds_for_ninety_days() -> None:
    layers = {digest(n): (Layer(f"sha256:{n:064x}", GB),) for n in (1, 2, 3)}
    freed = freed_by(planned(IMAGES, ARCHIVE), layers)
    assert freed.dollars_a_month == 0
    assert freed.committed_dollars == pytest.approx(0.6)
    assert freed.retrieval_dollars == pytest.approx(0.06)


def test_an_index_weighs_nothing_itself() -> None:
    images = [retained(1, days=9), retained(2, "a", days=9, contains=(digest(1),), size_bytes=GB), retained(3, "b")]
    freed = freed_by(planned(images, EXPIRE), {digest(1): (OLD,), digest(3): (NEW,)})
    assert (freed.size_bytes, freed.at_most) == (2 * GB, False)


def test_a_plan_that_takes_nothing_frees_nothing() -> None:
    freed = freed_by(planned(IMAGES[:1], EXPIRE), {})
    assert (freed.size_bytes, freed.at_most, freed.dollars_a_month) == (0, False, 0)


# ---- how far a run is


@pytest.mark.parametrize(
    ("after", "start", "taken"),
    [
        (None, "", 0),
        ("sha256:aa#17", "sha256:aa", 17),
        ("#3", "", 3),
        ("sha256:aa", "sha256:aa", 0),
    ],
)
def test_a_message_in_flight_is_read(after: str | None, start: str, taken: int) -> None:
    assert RetentionProgress.read(after) == RetentionProgress(start, taken)


def test_what_is_sent_is_what_was_sent_before() -> None:
    assert str(RetentionProgress("sha256:aa", 17)) == "sha256:aa#17"


def test_the_fact_of_a_repository_keeps_its_names_and_their_order() -> None:
    kept = msgspec.to_builtins(RetentionResult("p1", 9, 3, 2, False, None, {"sha256:aa": "denied"}, {}))
    assert msgspec.json.encode(kept) == (
        b'{"plan":"p1","images":9,"wanted":3,"taken":2,"observed":false,"stopped":null,'
        b'"failed":{"sha256:aa":"denied"},"kept":{}}'
    )
