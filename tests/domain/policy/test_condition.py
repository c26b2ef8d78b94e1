"""A condition is declared once; the documentation repeats the declarations, and what it reads is stored."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chalicelib.domain.assessment.merge import MATERIAL
from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.verdict import ImageState
from chalicelib.domain.policy import comparison, operand
from chalicelib.domain.policy.condition import CONDITIONS, TIME_WORDS, Condition, Match

POLICY_PAGE = Path(__file__).parents[3] / "docs/policy.md"
FOLLOWS_FROM_THE_ID = {"vulnerability_id", "related_ids", "source", "ecosystem"}
"""A change of these alone is not taken for news; the identity of a finding determines them."""


@pytest.mark.parametrize(
    ("about", "read"),
    [(Finding, "title"), (Finding, "severty"), (ImageState, "children"), (ImageState, "ref.regoin")],
)
def test_a_condition_whose_value_is_not_stored_is_refused_when_it_is_declared(
    about: type[Finding] | type[ImageState], read: str
) -> None:
    with pytest.raises(TypeError, match=rf"condition `new` reads {about.__name__}\.{read}, which is not stored"):
        Condition(about, "new", operand.GLOBS, comparison.glob, "New", (read,))


def test_a_change_of_what_a_condition_reads_of_a_finding_is_stored() -> None:
    read = {name for condition in CONDITIONS.values() if not condition.about_image for name in condition.reads}
    assert read - set(MATERIAL) <= FOLLOWS_FROM_THE_ID


def test_a_rule_may_name_every_declared_condition_and_nothing_else() -> None:
    assert Match.__struct_encode_fields__ == (*CONDITIONS, "all", "any", "not")


@pytest.mark.parametrize(("title", "about_image"), [("findings", False), ("the image", True)])
def test_the_documentation_has_a_row_for_each_condition_as_it_is_declared(title: str, about_image: bool) -> None:
    section = POLICY_PAGE.read_text().split(f"### Conditions about {title}\n", 1)[1].split("\n#", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{condition.name}` | {condition.operand.takes} | {condition.meaning} |"
        for condition in CONDITIONS.values()
        if condition.about_image is about_image
    ]


def test_the_documentation_names_each_condition_that_changes_by_the_clock() -> None:
    section = POLICY_PAGE.read_text().split("## When a verdict changes by itself\n", 1)[1]
    assert set(re.findall(r"`(\w+)`", section)) == {*TIME_WORDS, "after_minutes", "after_days"}
