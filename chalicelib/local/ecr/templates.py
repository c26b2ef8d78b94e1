"""Repository creation templates of the local ECR, and the repositories that ECR makes by them. moto knows none.

A template is taken by the longest prefix, `ROOT` by whatever no other prefix covers; it applies as a repository is
made, and never after that. What asks for it is `pull_through.py`, `replication.py` and `ecr.py` (a push).
Source: Amazon ECR user guide, "Templates to control repositories created during a pull through cache or replication
action".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moto.ecr.models import ECRBackend, Repository

ROOT = "ROOT"
PULL_THROUGH_CACHE, REPLICATION, CREATE_ON_PUSH = "PULL_THROUGH_CACHE", "REPLICATION", "CREATE_ON_PUSH"
Row = dict[str, Any]


class CreationTemplates(ECRBackend):
    """Of one account and Region. `templates`: rows of DescribeRepositoryCreationTemplates by prefix."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.templates: dict[str, Row] = {}

    def hold_repository(self, name: str) -> Repository:
        """As it is, or a new one without any setting. Takes any name: moto's own check is stricter than ECR's."""
        if name not in self.repositories:
            home = Repository(self.account_id, self.region_name, name, None, None, "", "MUTABLE")  # type: ignore[abstract]  # CloudFormation's methods
            self.repositories[name] = home
        return self.repositories[name]

    def template_for(self, name: str, scenario: str) -> Row | None:
        """None: the repository is made with ECR's defaults; of CREATE_ON_PUSH: it is not made."""
        applied = [prefix for prefix, row in self.templates.items() if scenario in row["appliedFor"]]
        prefix = longest_prefix(name, applied)
        return None if prefix is None else self.templates[prefix]

    def make_repository(self, name: str, scenario: str) -> Repository:
        """As it is, or a new one by its template."""
        known = name in self.repositories
        home, row = self.hold_repository(name), self.template_for(name, scenario)
        if known or row is None:
            return home
        home.image_tag_mutability_exclusion_filters = row.get("imageTagMutabilityExclusionFilters")
        home.image_tag_mutability = home._determine_image_tag_mutability(row["imageTagMutability"])
        home.encryption_configuration = home._determine_encryption_config(dict(row["encryptionConfiguration"]))
        home.policy, home.lifecycle_policy = row.get("repositoryPolicy"), row.get("lifecyclePolicy")
        self.tagger.tag_resource(home.arn, row.get("resourceTags") or [])
        return home


def longest_prefix(name: str, prefixes: Iterable[str]) -> str | None:
    """Of those that cover the repository: ECR puts a slash behind each. `ROOT` covers what no other does."""
    covering = [prefix for prefix in prefixes if prefix == ROOT or name.startswith(f"{prefix.rstrip('/')}/")]
    return max(covering, key=lambda prefix: (prefix != ROOT, len(prefix.rstrip("/"))), default=None)
