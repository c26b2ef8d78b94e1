"""Where replication and policies lead: what is asked of ECR, and what is said of it."""

from __future__ import annotations

import pytest

from chalicelib.adapters.usage.asking import Asker
from chalicelib.adapters.usage.reach import RegistryReach, look_at_registry, look_at_repository
from tests.adapters.looking import NOW, PLACE
from tests.fakes.estate import ACCOUNT, AWAY, HOME, Estate

THEIRS = "999900009999"


@pytest.fixture
def estate() -> Estate:
    return Estate()


def registry(estate: Estate) -> RegistryReach:
    return look_at_registry(estate.client("ecr", ACCOUNT, HOME), Asker(lambda: NOW, NOW.replace(year=2027)))


def destination(region: str, account: str = ACCOUNT) -> dict[str, str]:
    return {"region": region, "registryId": account}


def test_a_registry_without_rules_and_policy_leads_nowhere(estate: Estate):
    reach = registry(estate)
    assert (reach.copies(PLACE), reach.sentences(PLACE), reach.blind, reach.failed) == ([], [], [], False)


def test_each_place_that_a_rule_names_holds_copies_once(estate: Estate):
    everything = [destination(AWAY), destination("us-east-1"), destination(AWAY, THEIRS)]
    estate.home.replication = [{"destinations": everything}, {"destinations": everything[:1]}]
    copies = [(one.registry, one.region) for one in registry(estate).copies(PLACE)]
    assert copies == [(ACCOUNT, AWAY), (ACCOUNT, "us-east-1"), (THEIRS, AWAY)]


@pytest.mark.parametrize(
    ("prefix", "copied"), [("team/", True), ("team/api", True), ("team/api/", False), ("api", False)]
)
def test_a_rule_is_about_the_repositories_of_its_prefixes(estate: Estate, prefix: str, copied: bool):
    filters = [{"filter": one, "filterType": "PREFIX_MATCH"} for one in (prefix, "tools/")]
    estate.home.replication = [{"destinations": [destination(AWAY)], "repositoryFilters": filters}]
    assert bool(registry(estate).copies(PLACE)) is copied


def test_rules_that_cannot_be_read_do_not_hide_what_the_policy_says(estate: Estate):
    estate.home.refusals["DescribeRegistry"] = ("AccessDeniedException", "no")
    estate.home.registry_policy = '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}'
    reach = registry(estate)
    assert reach.sentences(PLACE) == ["every account may pull by the policy of the registry, and cannot be looked at"]
    assert reach.blind == [
        "the replication rules of the registry cannot be looked at: access denied (ecr:DescribeRegistry)"
    ]


@pytest.mark.parametrize("whose", ["registry", "repository"])
def test_a_policy_that_cannot_be_understood_lets_in_nobody_knows_whom(estate: Estate, whose: str):
    estate.home.registry_policy = estate.home.policies[PLACE.name] = "no policy"
    asker = Asker(lambda: NOW, NOW.replace(year=2027))
    of_repository = look_at_repository(estate.client("ecr", ACCOUNT, HOME), asker, PLACE).blind
    said = registry(estate).sentences(PLACE) if whose == "registry" else of_repository
    assert said == [f"whom the policy of the {whose} lets in cannot be told: it cannot be read"]


@pytest.mark.parametrize("code", ["RepositoryPolicyNotFoundException", "RepositoryNotFoundException"])
def test_a_repository_without_a_policy_or_gone_lets_nobody_in(estate: Estate, code: str):
    estate.home.refusals["GetRepositoryPolicy"] = (code, "none")
    looked = look_at_repository(estate.client("ecr", ACCOUNT, HOME), Asker(lambda: NOW, NOW.replace(year=2027)), PLACE)
    assert (looked.blind, looked.failed) == ([], False)
