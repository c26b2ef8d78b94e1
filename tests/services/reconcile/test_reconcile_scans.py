"""A sweep proves each push: the rule that scans each repository, counts by cause, and scans that are asked for."""

from __future__ import annotations

from typing import Any

import pytest

from bench import payloads
from bench.generate import DAY, FIRST_DAY, Plan
from bench.swept import Listed, SweptPlace, shared
from chalicelib.domain.images.image import Repository
from tests.services.sweeping import POLICY, reconcile, swept

PLAN = Plan(images=6, findings=3)
HOMES = [Repository(payloads.ACCOUNT, payloads.REGION, f"team/service-{n}") for n in range(3)]
LATER = FIRST_DAY + 8 * DAY


def listed(*, basic: bool) -> Listed:
    return Listed(PLAN, shared(PLAN, 3), basic=basic)


def facts(place: SweptPlace) -> list[dict[str, Any]]:
    rows = [place.context.queries.repository(home) for home in HOMES]
    return [row.facts for row in rows if row is not None]


def asked(place: SweptPlace) -> int:
    return place.aws.listings["ecr.StartImageScan"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("basic", "frequency"), [(True, "SCAN_ON_PUSH"), (False, "CONTINUOUS_SCAN")])
def test_each_repository_knows_its_rule_and_how_many_of_its_images_are_proven(basic: bool, frequency: str) -> None:
    with swept(listed(basic=basic)) as place:
        reconcile(place)
        reconcile(place)
        for known in facts(place):
            scanner = "BASIC" if basic else "ENHANCED"
            rule = {"scanner": scanner, "frequency": frequency, "filters": ["*"], "uncovered": None}
            assert known["scanning"] == rule
            assert known["reconcile"]["proofs"] == {"proven": 2, "unproven": {}}


def test_a_first_fill_calls_no_event_lost() -> None:
    with swept(listed(basic=False)) as place:
        reconcile(place)
        assert [known["reconcile"]["proofs"]["unproven"] for known in facts(place)] == [{"NEW": 2}] * 3


def test_what_was_scanned_too_long_ago_is_asked_for_once_a_day_within_the_budget() -> None:
    policy = f"{POLICY}scanning: {{rescan_after_days: 7, daily_budget: 4}}\n"
    with swept(listed(basic=True), at=LATER, policy=policy) as place:
        reconcile(place)
        assert asked(place) == 0
        reconcile(place)
        assert asked(place) == 3
        reconcile(place)
        assert asked(place) == 3
        assert sum(known["reconcile"]["started"]["left"] for known in facts(place)) == 3


def test_under_enhanced_scanning_nothing_is_asked_for() -> None:
    with swept(listed(basic=False), at=LATER) as place:
        reconcile(place)
        reconcile(place)
        assert asked(place) == 0
