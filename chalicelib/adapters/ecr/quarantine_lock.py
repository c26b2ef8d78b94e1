"""The repository that moved images lie in: made where it is not there, locked before anything is put into it.

Locked means: its policy denies pulls to everyone but Lazaretto's own roles and those that scan, and no lifecycle policy
expires what lies there. The statement is the one that blocks any repository
(`domain/enforcement/repository_policy.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import aws_call, code_of
from chalicelib.domain.enforcement.repository_policy import with_statement
from chalicelib.domain.images.image import Repository
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.parsers.images.images import parse_describe_repositories

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

NO_ROLES = "LAZARETTO_ROLE_ARNS names no role: a quarantine repository would be locked to Lazaretto as well"


class QuarantineLock:
    """`client_of` gives the ECR client of an account and a Region, `exempt_arns` are Lazaretto's own roles by ARN."""

    def __init__(self, client_of: Callable[[str, str], ECRClient], exempt_arns: Sequence[str]) -> None:
        self._client_of, self._exempt_arns = client_of, tuple(exempt_arns)

    def keep(self, place: Repository, like: Repository) -> None:
        """`place` is there and locked afterwards; a new one has immutable tags and is encrypted as `like` is.

        Raises TransientError, DeniedError, UpstreamError: then it is not to be used.
        """
        if not self._exempt_arns:
            raise UpstreamError(NO_ROLES)
        try:
            found = self._policy(place)
        except AbsentError:
            self._create(place, like)
            found = None
        self._refuse_lifecycle_policy(place)
        locked = with_statement(found, self._exempt_arns)
        if locked == found:
            return
        with aws_call(f"lock {place.path}"):
            self._client_of(place.registry, place.region).set_repository_policy(**_named(place), policyText=locked)
        back = self._policy(place)
        if with_statement(back, self._exempt_arns) != back:
            raise UpstreamError(f"lock {place.path}: somebody else has changed its policy at that moment")

    def _policy(self, home: Repository) -> str | None:
        """None: it has none. Raises AbsentError where there is no repository."""
        try:
            with aws_call(f"read the policy of {home.path}"):
                return self._client_of(home.registry, home.region).get_repository_policy(**_named(home))["policyText"]
        except UpstreamError as error:
            if code_of(error) != "RepositoryPolicyNotFoundException":
                raise
            return None

    def _refuse_lifecycle_policy(self, place: Repository) -> None:
        """It would expire the only copy there is. It is somebody's, so it is not taken away but told of."""
        try:
            with aws_call(f"read the lifecycle policy of {place.path}"):
                self._client_of(place.registry, place.region).get_lifecycle_policy(**_named(place))
        except UpstreamError as error:
            if code_of(error) != "LifecyclePolicyNotFoundException":
                raise
        else:
            raise UpstreamError(f"{place.path} has a lifecycle policy, which would expire what lies there: remove it")

    def _create(self, place: Repository, like: Repository) -> None:
        """One that somebody else has made meanwhile is as good."""
        encrypted = self._encryption(like)
        try:
            with aws_call(f"create {place.path}"):
                self._client_of(place.registry, place.region).create_repository(
                    **_named(place), **encrypted, imageTagMutability="IMMUTABLE"
                )
        except UpstreamError as error:
            if code_of(error) != "RepositoryAlreadyExistsException":
                raise

    def _encryption(self, home: Repository) -> Any:
        """As CreateRepository takes it. A repository that is gone had images once that lie in no place: nothing to do
        for it, and it raises AbsentError."""
        with aws_call(f"describe {home.path}"):
            answer: Any = self._client_of(home.registry, home.region).describe_repositories(
                registryId=home.registry, repositoryNames=[home.name]
            )
        with readable(f"describe {home.path}"):
            found = parse_describe_repositories(answer).repositories
        detail = next((one for one in found if one.repository.name == home.name), None)
        if detail is None or detail.encryption is None:
            raise UpstreamError(f"describe {home.path}: the answer does not say how it is encrypted")
        key = {"kmsKey": detail.kms_key} if detail.kms_key else {}
        return {"encryptionConfiguration": {"encryptionType": detail.encryption, **key}}


def _named(home: Repository) -> Any:
    return {"registryId": home.registry, "repositoryName": home.name}
