"""ECR's calls about repository creation templates: created, described, updated and deleted, or refused as ECR does."""

from __future__ import annotations

import re
from typing import Any

from moto.core.responses import ActionResult
from moto.ecr.exceptions import InvalidParameterException, LimitExceededException
from moto.ecr.responses import ECRResponse

from chalicelib.domain.retention.lifecycle_policy import parse_lifecycle_policy
from chalicelib.errors import RefusedPayloadError
from chalicelib.local.ecr.ecr import EcrRefusal
from chalicelib.local.ecr.templates import CREATE_ON_PUSH, PULL_THROUGH_CACHE, REPLICATION, Row
from chalicelib.local.pages import PlainAnswer, page_of

ROWS, MOST_ROWS = 100, 1_000
MOST_TEMPLATES = 50
LONGEST_PREFIX = 256
_NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
PREFIX = re.compile(rf"({_NAME}(/{_NAME})*/?|ROOT)")
"""As ECR's model has it, of templates and of rules of the pull-through cache."""
_SCENARIOS = frozenset({REPLICATION, PULL_THROUGH_CACHE, CREATE_ON_PUSH})
_TEXTS = ("description", "customRoleArn", "repositoryPolicy", "lifecyclePolicy")
_GIVEN = ("resourceTags", "imageTagMutability", "imageTagMutabilityExclusionFilters", "encryptionConfiguration")


class TemplateAnswers(ECRResponse):
    def create_repository_creation_template(self) -> ActionResult:
        prefix = checked_prefix(self._get_param("prefix"), "prefix", LONGEST_PREFIX)
        if prefix in self._templates:
            raise EcrRefusal("TemplateAlreadyExistsException", f"There is a template for {prefix!r} already")
        if len(self._templates) >= MOST_TEMPLATES:
            raise LimitExceededException()
        defaults = {"imageTagMutability": "MUTABLE", "encryptionConfiguration": {"encryptionType": "AES256"}}
        row = {"prefix": prefix, **defaults, **self._said(), "createdAt": self._now, "updatedAt": self._now}
        self._templates[prefix] = row
        return self._about(row)

    def update_repository_creation_template(self) -> ActionResult:
        """What is not said stays."""
        row = self._found()
        row |= {**self._said(), "updatedAt": self._now}
        return self._about(row)

    def delete_repository_creation_template(self) -> ActionResult:
        row = self._found()
        del self._templates[row["prefix"]]
        return self._about(row)

    def describe_repository_creation_templates(self) -> ActionResult:
        asked = self._get_param("prefixes")
        rows = [row for prefix, row in sorted(self._templates.items()) if not asked or prefix in asked]
        page, more = page_of(
            rows, self._get_param("nextToken"), min(int(self._get_param("maxResults") or ROWS), MOST_ROWS)
        )
        return PlainAnswer({"registryId": self.current_account, "repositoryCreationTemplates": page, **more})

    @property
    def _templates(self) -> dict[str, Row]:
        ecr: Any = self.ecr_backend
        templates: dict[str, Row] = ecr.templates
        return templates

    @property
    def _now(self) -> float:
        ecr: Any = self.ecr_backend
        return float(ecr.clock.now().timestamp())

    def _found(self) -> Row:
        prefix = self._get_param("prefix")
        if prefix not in self._templates:
            raise EcrRefusal("TemplateNotFoundException", f"There is no template for {prefix!r}")
        return self._templates[prefix]

    def _about(self, row: Row) -> ActionResult:
        return PlainAnswer({"registryId": self.current_account, "repositoryCreationTemplate": row})

    def _said(self) -> Row:
        said = {key: self._get_param(key) for key in (*_TEXTS, *_GIVEN, "appliedFor")}
        row = {key: value for key, value in said.items() if value is not None}
        if not set(row.get("appliedFor") or ()) <= _SCENARIOS:
            raise InvalidParameterException(f"appliedFor is of {', '.join(sorted(_SCENARIOS))}")
        if row.get("lifecyclePolicy"):
            try:
                parse_lifecycle_policy(row["lifecyclePolicy"])
            except RefusedPayloadError as error:
                raise InvalidParameterException(f"Invalid parameter at 'lifecyclePolicy': {error}") from None
        return row


def checked_prefix(prefix: Any, name: str, longest: int) -> str:
    if not isinstance(prefix, str) or len(prefix) > longest or PREFIX.fullmatch(prefix) is None:
        raise InvalidParameterException(f"Invalid parameter at '{name}': {prefix!r} is no prefix of repositories")
    return prefix
