"""Whom policies and replication let in: accounts and Regions beside the registry's own. ECR is read here, nothing else.

Calls: DescribeRegistry and GetRegistryPolicy for a Region, GetRepositoryPolicy for a repository. Of other accounts
nobody here can tell what they run: each one that is let in is a sentence. Our own account in another Region is looked
at like the image's Region.
"""

from __future__ import annotations

from typing import Any

from chalicelib.adapters.aws.errors import code_of
from chalicelib.adapters.usage.asking import Asker
from chalicelib.adapters.usage.places import PlaceAnswer
from chalicelib.domain.images.image import Repository
from chalicelib.domain.usage.pull_reach import let_in
from chalicelib.errors import UpstreamError
from chalicelib.parsers.usage import use_answers as use

_NO_REGISTRY_POLICY = frozenset({"RegistryPolicyNotFoundException"})
_NO_REPOSITORY_POLICY = frozenset({"RepositoryPolicyNotFoundException", "RepositoryNotFoundException"})


class RegistryReach(PlaceAnswer):
    """What holds for all repositories of a registry in one Region. `policy` None: there is none."""

    rules: list[use.CopyRule] = []
    policy: str | None = None

    def regions(self, home: Repository) -> list[str]:
        """The other Regions of its own account that images of the repository are copied to."""
        return sorted({one.region for one in self._destinations(home) if one.registry_id == home.registry})

    def sentences(self, home: Repository) -> list[str]:
        others = sorted(
            {(one.registry_id, one.region) for one in self._destinations(home) if one.registry_id != home.registry}
        )
        copied = [f"account {a} in {r} gets copies by replication, and cannot be looked at" for a, r in others]
        return copied + (_let_in(self.policy, home, "registry") if self.policy else [])

    def _destinations(self, home: Repository) -> list[use.CopyDestination]:
        """A rule without filters is about every repository."""
        return [
            destination
            for rule in self.rules
            if not rule.repository_filters or any(home.name.startswith(f.filter) for f in rule.repository_filters)
            for destination in rule.destinations
        ]


def look_at_registry(ecr: Any, asker: Asker) -> RegistryReach:
    looked = RegistryReach()
    with looked.at("the replication rules of the registry"):
        looked.rules = asker.ask(ecr, "describe_registry", use.RegistryAnswer).replication_configuration.rules
    with looked.at("the policy of the registry", _NO_REGISTRY_POLICY):
        looked.policy = asker.ask(ecr, "get_registry_policy", use.PolicyTextAnswer).policy_text
    return looked


def look_at_repository(ecr: Any, asker: Asker, home: Repository) -> PlaceAnswer:
    looked = PlaceAnswer()
    with looked.at("the policy of the repository"):
        try:
            answer = asker.ask(
                ecr,
                "get_repository_policy",
                use.PolicyTextAnswer,
                registryId=home.registry,
                repositoryName=home.name,
            )
        except UpstreamError as error:
            if code_of(error) not in _NO_REPOSITORY_POLICY:
                raise
        else:
            looked.blind += _let_in(answer.policy_text, home, "repository")
    return looked


def _let_in(policy: str, home: Repository, whose: str) -> list[str]:
    try:
        others = let_in(policy, home.arn, home.registry)
    except ValueError:
        return [f"whom the policy of the {whose} lets in cannot be told: it cannot be read"]
    return [f"{who} may pull by the policy of the {whose}, and cannot be looked at" for who in others]
