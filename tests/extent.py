"""How many of its runs a test does, and from which seed: the only place that knows `dev` from `ci`.

A test states its full numbers. Under the profile `dev` (`make test`) it does a tenth of its random runs and dies at
every fifth call; under `ci` (`make full`) it does all. Both begin at SEED, which stays: a commit is red for what it
changes and for nothing else. `make soak` begins at one of the commit's own, and finds what no run has found yet. Of the
scenes that carry the mark `in_turn` the one plays a fifth and the other the next, unless only a few tests were asked
for: another commit takes others. A test that does fewer here than there carries the mark `sampled`, by which `make
full` finds it: from its `@given`, from the fixture `extent`, from `killed_at`, `with_seeds` or `in_turn`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import is_hypothesis_test, settings

ONE_OF_RUNS, ONE_OF_CALLS, ONE_OF_SCENES = 10, 5, 5
FEW_SCENES = 30
"""So many are played all: a file or two was asked for."""
ROOT = Path(__file__).parent.parent

T = TypeVar("T")
Test = TypeVar("Test", bound=Callable[..., Any])


def _seed_of_commit() -> int:
    """0 without a repository or without git."""
    command = ["git", "rev-parse", "--short=8", "HEAD"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(said.stdout, 16)


# Workers inherit them: they must collect the same tests even when a commit is made meanwhile.
TURN = int(os.environ.get("TURN") or _seed_of_commit())
SEED = int(os.environ.get("SEED") or (TURN if os.environ.get("LAZARETTO_SOAK") else 20_261_203))
os.environ |= {"TURN": str(TURN), "SEED": str(SEED)}

# A deadline would be a test of time. Nothing found is kept: the seed alone tells what is run.
for _profile in ("dev", "ci"):
    settings.register_profile(_profile, deadline=None, database=None, derandomize=False, print_blob=True)
settings.load_profile("dev")


class Extent:
    """As a fixture: what a test asks that counts its runs itself."""

    @property
    def is_full(self) -> bool:
        return settings.get_current_profile_name().startswith("ci")

    def runs(self, number: int) -> int:
        """Of `number` random runs, those to do: at least one."""
        return number if self.is_full else -(-number // ONE_OF_RUNS)

    def seeds(self, number: int) -> range:
        """Of a test that runs `number` seeds."""
        return range(SEED, SEED + self.runs(number))

    def cases(self, every: Sequence[T]) -> Sequence[T]:
        """Of given cases, e.g. seeds known to be worth it: all, or one in ten."""
        return self._one_of(every, ONE_OF_RUNS)

    def calls(self, every: Sequence[T]) -> Sequence[T]:
        """Of the calls of a flow those to die at: all, or one in five."""
        return self._one_of(every, ONE_OF_CALLS)

    def _one_of(self, every: Sequence[T], step: int) -> Sequence[T]:
        return every if self.is_full or not every else every[TURN % min(step, len(every)) :: step]

    def reduce(self, test: Any) -> None:
        """A test of Hypothesis to its share of `max_examples`."""
        function = getattr(test, "__func__", test)
        stated = function._hypothesis_internal_use_settings
        function._hypothesis_internal_use_settings = settings(stated, max_examples=self.runs(stated.max_examples))


EXTENT = Extent()


def killed_at(calls: Sequence[int]) -> Callable[[Test], Test]:
    """The test's parameter `dies_at` is each of these calls, or every fifth."""
    return _sampled("dies_at", EXTENT.calls(calls))


def with_seeds(seeds: Sequence[int]) -> Callable[[Test], Test]:
    """The test's parameter `seed` is each of these, or every tenth."""
    return _sampled("seed", EXTENT.cases(seeds))


def _sampled(name: str, values: Sequence[int]) -> Callable[[Test], Test]:
    each = pytest.mark.parametrize(name, values)
    return lambda test: pytest.mark.sampled(each(test))


def sample(items: list[pytest.Item]) -> None:
    """Marks what does less under `dev`, and sees that tests of Hypothesis do; leaves out the scenes whose turn it is
    not. The function of a parametrised test is one for many items."""
    scenes = [item for item in items if item.get_closest_marker("in_turn")]
    for number, item in enumerate(scenes):
        item.add_marker("sampled")
        if len(scenes) > FEW_SCENES and (number + TURN) % ONE_OF_SCENES != EXTENT.is_full:
            items.remove(item)
    seen = set()
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if by_hypothesis := is_hypothesis_test(item.obj):
            if id(item.function) not in seen:
                EXTENT.reduce(item.obj)
            seen.add(id(item.function))
        if by_hypothesis or "extent" in item.fixturenames:
            item.add_marker("sampled")


def told() -> str:
    part = "a tenth of the random runs, every fifth call to die at"
    what = "all random runs and calls" if EXTENT.is_full else part
    return f"{what}, a fifth of the long scenes; again by SEED={SEED} TURN={TURN}"
