"""Who may pull an image besides what runs beside it: where replication puts copies, by which tags these can be pulled,
and whom policies let in.

Calls: DescribeRegistry and GetRegistryPolicy for a registry in a Region, GetRepositoryPolicy for a repository, and
DescribeImages for a copy: a tag that was taken from the source stays at the copy. What
another account runs can be known only where a role lets us look; who is let in by a policy is a sentence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from chalicelib.adapters.aws.calls import batches
from chalicelib.adapters.usage.asking import Asker, PlaceAnswer
from chalicelib.domain.images.image import Repository
from chalicelib.domain.usage.blast_radius import let_in
from chalicelib.errors import AbsentError
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


IMAGES_ASKED = 100


class CopyTags(PlaceAnswer):
    """The tags of a copy, of its indexes and of its images, where it lies."""

    tags: list[str] = []


def look_at_tags(ecr: Any, asker: Asker, home: Repository, digests: Collection[str]) -> CopyTags:
    looked = CopyTags()
    with looked.at("the tags of the copy"):
        for some in batches(sorted(digests), IMAGES_ASKED):
            looked.tags += _tags(ecr, asker, home, some)
    return looked


def _tags(ecr: Any, asker: Asker, home: Repository, digests: Sequence[str]) -> list[str]:
    """ECR tells of none where one of them is not there."""
    which = {"registryId": home.registry, "repositoryName": home.name, "filter": {"imageStatus": "ANY"}}
    ids = [{"imageDigest": digest} for digest in digests]
    try:
        images = asker.ask(ecr, "describe_images", wire.TaggedImages, imageIds=ids, **which).image_details
    except AbsentError as error:
        if error.what == "repository" or len(digests) == 1:
            return []
        return [tag for digest in digests for tag in _tags(ecr, asker, home, [digest])]
    return [tag for image in images for tag in image.image_tags]
