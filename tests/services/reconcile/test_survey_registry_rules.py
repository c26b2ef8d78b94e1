"""How our repositories are scanned is asked once for all; what nobody may ask is not known, and blamed on nothing."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from chalicelib.domain.images.image import Repository, Source
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, Frequency, FrequencyRule, RegistryScanning, Uncovered
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.reconcile.survey_registry import FoundRules, find_rules
from tests.fakes.images import ACCOUNT, home

ON_PUSH = RegistryScanning(Source.BASIC, (FrequencyRule(Frequency.SCAN_ON_PUSH, ("prod",)),))


class FakeContext:
    def __init__(self, configuration: Any = (ACCOUNT, ON_PUSH), applied: Any = None) -> None:
        self.answers = {"configuration": configuration, "applied": applied or {}}
        self.calls: list[str] = []
        self.scans = self

    def configuration(self, registry: Repository) -> Any:
        return self._answer("configuration")

    def applied(self, registry: Repository, names: Collection[str]) -> Any:
        return self._answer("applied")

    def _answer(self, name: str) -> Any:
        self.calls.append(name)
        if isinstance(self.answers[name], Exception):
            raise self.answers[name]
        return self.answers[name]


def find(context: FakeContext) -> FoundRules:
    return find_rules(home(""), ["prod", "team"], context)  # type: ignore[arg-type]


def test_all_repositories_are_asked_about_in_two_calls() -> None:
    context = FakeContext(applied={"team": AppliedScanRule(Frequency.SCAN_ON_PUSH, filters=("*",))})
    found = find(context)
    assert (found.scanner, context.calls) == (Source.BASIC, ["configuration", "applied"])
    assert {name: rule.filters for name, rule in found.rules.items()} == {"prod": ("prod",), "team": ("*",)}


def test_where_ecr_does_not_say_what_is_applied_the_rules_alone_tell() -> None:
    found = find(FakeContext(applied=DeniedError("not permitted")))
    assert found.rules["prod"].uncovered is None
    assert found.rules["team"].uncovered is Uncovered.NO_FILTER_MATCHES


@pytest.mark.parametrize("configuration", [DeniedError("not permitted"), ("999999999999", ON_PUSH)])
def test_what_nobody_may_ask_or_is_about_another_registry_is_not_known(configuration: Any) -> None:
    assert find(FakeContext(configuration)) == FoundRules()


def test_a_call_that_only_needs_time_is_made_again() -> None:
    for context in (FakeContext(TransientError("throttled")), FakeContext(applied=TransientError("throttled"))):
        with pytest.raises(TransientError):
            find(context)
