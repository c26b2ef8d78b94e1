"""Amazon ECR's list of those whose pulls leave no trace in an image's last pull. One list for each registry and Region.

Calls: ListPullTimeUpdateExclusions by the hundred, RegisterPullTimeUpdateExclusion for one role.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import asked, code_of
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.errors import UpstreamError
from chalicelib.parsers.wire.answer import Lower, read

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

ASKED = 100
THERE = "ExclusionAlreadyExistsException"


class _Exclusions(Lower):
    pull_time_update_exclusions: list[str] = []
    next_token: str | None = None


class EcrPullTimes:
    """`client_of` gives the ECR client of an account (None: our own) and a Region. Implements
    `services.ports.registry.PullTimes`. All methods raise TransientError, DeniedError and UpstreamError."""

    def __init__(self, client_of: Callable[[str | None, str], ECRClient]) -> None:
        self._client_of = client_of

    def excluded(self, place: RegistryPlace) -> frozenset[str]:
        what = f"list who leaves no pull time in {place}"
        call: Any = self._client_of(place.account, place.region).list_pull_time_update_exclusions
        found: set[str] = set()
        more: dict[str, str] = {}
        while True:
            answer = asked(what, call, maxResults=ASKED, **more)
            with readable(what):
                page = read(_Exclusions, answer)
            found.update(page.pull_time_update_exclusions)
            if not page.next_token:
                return frozenset(found)
            more = {"nextToken": page.next_token}

    def exclude(self, place: RegistryPlace, role_arn: str) -> None:
        """One that is excluded already is success."""
        call: Any = self._client_of(place.account, place.region).register_pull_time_update_exclusion
        try:
            asked(f"have {role_arn} leave no pull time in {place}", call, principalArn=role_arn)
        except UpstreamError as error:
            if code_of(error) != THERE:
                raise
