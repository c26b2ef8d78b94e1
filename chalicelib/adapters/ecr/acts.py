"""Amazon ECR, changed: storage classes and repository policies. Nothing here decides why.

Each method can be called again: what is so already is success. No image and no tag is deleted here. Reading images for
verdicts is `registry.py`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.adapters.aws.calls import aws_call, code_of
from chalicelib.adapters.ecr.registry import EcrRegistry
from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.errors import TransientError, UpstreamError

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

_NOT_SUPPORTED = "ImageStorageClassUpdateNotSupportedException"
_NO_POLICY = "RepositoryPolicyNotFoundException"


class EcrActs:
    """`client_of` gives the ECR client of an account and a Region. Implements `services.ports.Acts`.

    Every method raises TransientError, DeniedError, UpstreamError and AbsentError (`image`, `repository`).
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient]) -> None:
        self._client_of = client_of
        self._registry = EcrRegistry(client_of, _nobody)

    # --- storage classes

    def archive(self, ref: ImageRef) -> None:
        """Nobody can pull it afterwards. Raises TransientError while ECR is restoring it."""
        if not self._store(ref, "ARCHIVE"):
            storage = self._registry.describe_image(ref).storage
            if storage is StorageStatus.ACTIVATING:
                raise TransientError(f"archive {ref}: ECR is still restoring it")
            if storage is not StorageStatus.ARCHIVED:
                raise UpstreamError(f"archive {ref}: ECR does not support it for this image ({_NOT_SUPPORTED})")

    def restore(self, ref: ImageRef) -> None:
        """Asynchronous: the image is ACTIVATING afterwards, and ACTIVE some minutes later."""
        if not self._store(ref, "STANDARD") and self._registry.describe_image(ref).storage is StorageStatus.ARCHIVED:
            raise UpstreamError(f"restore {ref}: ECR does not support it for this image ({_NOT_SUPPORTED})")

    def _store(self, ref: ImageRef, target: Literal["ARCHIVE", "STANDARD"]) -> bool:
        """False: not supported, which ECR also answers where it is so already, or under way."""
        try:
            with aws_call(f"set the storage class of {ref} to {target}"):
                self._client(ref.home).update_image_storage_class(
                    registryId=ref.registry,
                    repositoryName=ref.repository,
                    imageId={"imageDigest": ref.digest},
                    targetStorageClass=target,
                )
        except UpstreamError as error:
            if code_of(error) != _NOT_SUPPORTED:
                raise
            return False
        return True

    # --- repositories

    def read_policy(self, repository: Repository) -> str | None:
        """As ECR has it; None: it has none."""
        try:
            with aws_call(f"read the policy of {repository.path}"):
                answer = self._client(repository).get_repository_policy(
                    registryId=repository.registry, repositoryName=repository.name
                )
        except UpstreamError as error:
            if code_of(error) == _NO_POLICY:
                return None
            raise
        return answer["policyText"]

    def write_policy(self, repository: Repository, text: str) -> None:
        """Never by force: a policy that would lock people out of changing it is refused by ECR."""
        with aws_call(f"write the policy of {repository.path}"):
            self._client(repository).set_repository_policy(
                registryId=repository.registry, repositoryName=repository.name, policyText=text
            )

    def delete_policy(self, repository: Repository) -> None:
        try:
            with aws_call(f"delete the policy of {repository.path}"):
                self._client(repository).delete_repository_policy(
                    registryId=repository.registry, repositoryName=repository.name
                )
        except UpstreamError as error:
            if code_of(error) != _NO_POLICY:
                raise

    def _client(self, repository: Repository) -> ECRClient:
        if repository.public:
            raise UpstreamError(f"{repository.path}: Amazon ECR Public has neither storage classes nor a Deny of pulls")
        return self._client_of(repository.registry, repository.region)


def _nobody(region: str) -> Any:
    raise UpstreamError(f"no public image comes this far ({region})")
