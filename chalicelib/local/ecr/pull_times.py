"""Who leaves no pull time at the local ECR: kept and listed as ECR does it. moto does not know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.ecr.exceptions import InvalidParameterException

from chalicelib.local.ecr.blobs import EcrRefusal

if TYPE_CHECKING:
    from chalicelib.local.ecr.ecr import LocalEcr

PAGE = 100
LONGEST_ARN = 200
_KEPT = "pull_time_exclusions"


class PullTimeAnswers:
    """ECR's requests about pull times, for the class that answers ECR's requests to inherit."""

    _get_param: Any
    answer: type[ActionResult]

    @property
    def ecr_backend(self) -> LocalEcr:
        """The registry that is asked for."""
        raise NotImplementedError

    def register_pull_time_update_exclusion(self) -> ActionResult:
        arn, kept = str(self._get_param("principalArn")), self._kept()
        if not arn.startswith("arn:") or ":iam::" not in arn or "*" in arn or len(arn) > LONGEST_ARN:
            raise InvalidParameterException(f"{arn} is no principal")
        if arn in kept:
            raise EcrRefusal("ExclusionAlreadyExistsException", f"{arn} is excluded already")
        kept[arn] = self.ecr_backend.clock.now().timestamp()
        return self.answer({"principalArn": arn, "createdAt": kept[arn]})

    def list_pull_time_update_exclusions(self) -> ActionResult:
        arns, start = sorted(self._kept()), int(self._get_param("nextToken") or 0)
        end = start + min(int(self._get_param("maxResults") or PAGE), PAGE)
        more = {"nextToken": str(end)} if end < len(arns) else {}
        return self.answer({"pullTimeUpdateExclusions": arns[start:end], **more})

    def _kept(self) -> dict[str, float]:
        kept: dict[str, float] = vars(self.ecr_backend).setdefault(_KEPT, {})
        return kept
