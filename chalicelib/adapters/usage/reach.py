"""Who may pull an image besides what runs beside it: where replication puts copies, and whom policies let in.

Calls: DescribeRegistry and GetRegistryPolicy for a registry in a Region, GetRepositoryPolicy for a repository. What
another account runs can be known only where a role lets us look; who is let in by a policy is a sentence.
"""

from __future__ import annotations

from typing import Any

from chalicelib.adapters.usage.asking import Asker, PlaceAnswer
from chalicelib.domain.images.image import Repository
from chalicelib.domain.usage.blast_radius import let_in
from chalicelib.parsers.images import settings_answers as said
from chalicelib.parsers.usage import use_answers as wire

_NO_REGISTRY_POLICY = frozenset({"RegistryPolicyNotFoundException"})
_NO_REPOSITORY_POLICY = frozenset({"RepositoryPolicyNotFoundException", "RepositoryNotFoundException"})


class RegistryReach(PlaceAnswer):
    """What holds for all repositories of a registry in one Region. `policy` None: there is none."""

    rules: list[said.CopyRule] = []
    policy: str | None = None

    def copies(self, home: Repository) -> list[Repository]:
        """Where images of the repository are copied to. A rule without filters is about every repository."""
        found = {
            Repository(destination.registry_id, destination.region, home.name)
            for rule in self.rules
            if not rule.repository_filters or any(home.name.startswith(f.filter) for f in rule.repository_filters)
            for destination in rule.destinations
        }
        return sorted(found)

    def sentences(self, home: Repository) -> list[str]:
        return _let_in(self.policy, home, "registry") if self.policy else []


def look_at_registry(ecr: Any, asker: Asker) -> RegistryReach:
    looked = RegistryReach()
    with looked.at("the replication rules of the registry"):
        looked.rules = asker.ask(ecr, "describe_registry", said.RegistryAnswer).replication_configuration.rules
    with looked.at("the policy of the registry", _NO_REGISTRY_POLICY):
        looked.policy = asker.ask(ecr, "get_registry_policy", wire.PolicyTextAnswer).policy_text
    return looked


def look_at_repository(ecr: Any, asker: Asker, home: Repository) -> PlaceAnswer:
    looked = PlaceAnswer()
    with looked.at("the policy of the repository", _NO_REPOSITORY_POLICY):
        which = {"registryId": home.registry, "repositoryName": home.name}
        answer = asker.ask(ecr, "get_repository_policy", wire.PolicyTextAnswer, **which)
        looked.blind += _let_in(answer.policy_text, home, "repository")
    return looked


def _let_in(policy: str, home: Repository, whose: str) -> list[str]:
    try:
        others = let_in(policy, home.arn, home.registry)
    except ValueError:
        return [f"whom the policy of the {whose} lets in cannot be told: it cannot be read"]
    return [f"{who} may pull by the policy of the {whose}, and cannot be looked at" for who in others]
