"""Conditions put together, once per policy: blocks of them made into functions, and the moments at which they change.

Three-valued: a comparison with something absent is UNKNOWN, `all` is the minimum, `any` the maximum, and a finding
matches only what is TRUE. The outermost `not` turns UNKNOWN into TRUE: nothing is excused by what is not known. For the
same reason a `not` over something of which there may be several (packages, their managers and paths, tags) excuses only
when all of them match. What a rule does with its matches is `rulebook.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.image_state import ImageState
from chalicelib.domain.policy.comparison import FALSE, TRUE, Ratings
from chalicelib.domain.policy.condition import CONDITIONS, IMAGE_WORDS, TIME_WORDS, Match, NextChange, Predicate


class MatchView(NamedTuple):
    """Which words are left open, and whether they are taken as favourably to a match as possible, or as unfavourably.

    A rule that differs between both views depends on the open words; one that does not, does not.
    """

    open_words: frozenset[str] = frozenset()
    favourable: bool = True


ACTUAL = MatchView()


def compile_match(
    match: Match, ratings: Ratings, view: MatchView = ACTUAL, depth: int = 0
) -> list[tuple[bool, Predicate]]:
    """The conditions of one block, each with whether it is about the image alone.

    `depth` counts the `not`s around the block.
    """
    parts: list[tuple[bool, Predicate]] = []
    for word, value in match.given.items():
        if word == "all" or word == "any":
            blocks = [_block(m, ratings, view, depth) for m in value]
            parts.append((_about_image(value), _every(blocks) if word == "all" else _some(blocks)))
        elif word == "not":
            inner = _block(value, ratings, view, depth + 1)
            parts.append((_about_image((value,)), _outer_not(inner) if depth == 0 else _not(inner)))
        elif word in view.open_words:
            parts.append((word in IMAGE_WORDS, _always(TRUE if view.favourable == (depth % 2 == 0) else FALSE)))
        else:
            parts.append((word in IMAGE_WORDS, CONDITIONS[word].predicate(value, ratings, depth % 2 == 1)))
    return parts


def next_changes(match: Match, ratings: Ratings) -> list[NextChange]:
    """Of every condition of the block and of those nested in it that changes by the clock."""
    nested = [change for block in match.blocks for change in next_changes(block, ratings)]
    own = [CONDITIONS[word].next_change(value, ratings) for word, value in match.given.items() if word in TIME_WORDS]
    return nested + own


def _about_image(blocks: Iterable[Match]) -> bool:
    return all(m.words <= IMAGE_WORDS for m in blocks)


def _block(match: Match, ratings: Ratings, view: MatchView, depth: int) -> Predicate:
    predicates = [p for _, p in compile_match(match, ratings, view, depth)]
    return predicates[0] if len(predicates) == 1 else _every(predicates)


def _every(tests: list[Predicate]) -> Predicate:
    def every(finding: Finding, state: ImageState, now: datetime) -> int:
        worst = TRUE
        for test in tests:
            value = test(finding, state, now)
            if value == FALSE:
                return FALSE
            worst = min(worst, value)
        return worst

    return every


def _some(tests: list[Predicate]) -> Predicate:
    return lambda f, s, n: max(test(f, s, n) for test in tests)


def _not(test: Predicate) -> Predicate:
    return lambda f, s, n: TRUE - test(f, s, n)


def _outer_not(test: Predicate) -> Predicate:
    return lambda f, s, n: FALSE if test(f, s, n) == TRUE else TRUE


def _always(value: int) -> Predicate:
    return lambda f, s, n: value
