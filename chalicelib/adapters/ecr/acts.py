"""Amazon ECR, changed: storage classes, tags, repository policies. Nothing here decides why.

Each method can be called again: what is so already is success. No image is ever deleted here, and a tag only while its
image keeps another one. Moving images is `ecr_mover`'s business, reading them for verdicts `ecr_registry`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import aws_call, code_of
from chalicelib.adapters.ecr.registry import EcrRegistry
from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.parsers.images.images import BatchImage, parse_describe_repositories

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

MUTABLE = "MUTABLE"
_NOT_SUPPORTED = "ImageStorageClassUpdateNotSupportedException"
_SAME_IMAGE, _TAG_TAKEN = "ImageAlreadyExistsException", "ImageTagAlreadyExistsException"
_NO_POLICY = "RepositoryPolicyNotFoundException"
_TAG_GONE = frozenset({"ImageNotFound", "ImageTagDoesNotMatchDigest"})
_TRY_AGAIN = frozenset({"UpstreamTooManyRequests", "UpstreamUnavailable"})


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

    # --- tags

    def put_tag(self, ref: ImageRef, tag: str) -> None:
        """By the same manifest, byte for byte. A tag that another image has moves here. Raises UpstreamError where it
        may not, because tags are immutable, or where the image is archived: then its manifest is not to be had."""
        client = self._client(ref.home)
        image = self._image(ref)
        try:
            with aws_call(f"put the tag {tag} on {ref}"):
                client.put_image(
                    registryId=ref.registry,
                    repositoryName=ref.repository,
                    imageManifest=image.body,
                    imageManifestMediaType=image.manifest.media_type,
                    imageTag=tag,
                    imageDigest=ref.digest,
                )
        except UpstreamError as error:
            if code_of(error) not in (_SAME_IMAGE, _TAG_TAKEN):
                raise
            if tag not in self._registry.describe_image(ref).tags:
                said = f"{ref.home.path} has immutable tags, and another image has it"
                raise UpstreamError(f"the tag {tag} cannot be put on {ref}: {said}") from error

    def remove_tag(self, ref: ImageRef, tag: str) -> None:
        """Nothing where the tag is not at this digest. Raises UpstreamError for the image's only tag: ECR would delete
        the image with it.

        By tag alone, after a look at the image: what ECR does when given digest and tag is not documented, and deleting
        by digest deletes the image. Should the tag have moved between look and call, it is put back where it was.
        """
        client = self._client(ref.home)
        tags = set(self._registry.describe_image(ref).tags)
        if tag not in tags:
            return
        if tags == {tag}:
            raise UpstreamError(f"{tag} is the only tag of {ref}: ECR would delete the image with it")
        with aws_call(f"take the tag {tag} from {ref}"):
            answer: Any = client.batch_delete_image(
                registryId=ref.registry, repositoryName=ref.repository, imageIds=[{"imageTag": tag}]
            )
        for failure in answer.get("failures", ()):
            _complain(failure, f"take the tag {tag} from {ref}")
        for taken in answer.get("imageIds", ()):
            if taken.get("imageDigest") not in (None, ref.digest):
                self._give_back(ref.home.image(taken["imageDigest"]), tag)

    def _give_back(self, other: ImageRef, tag: str) -> None:
        try:
            self.put_tag(other, tag)
        except UpstreamError as error:
            said = f"the tag {tag} moved to {other} as it was taken away, and could not be put back: {error}"
            raise UpstreamError(f"{said}; push that image again") from error

    def _image(self, ref: ImageRef) -> BatchImage:
        """BatchGetImage says of an archived image what it says of none: then DescribeImages tells which."""
        try:
            return self._registry.read_held(ref)
        except AbsentError as error:
            if error.what != "image":
                raise
            storage = self._registry.describe_image(ref).storage
            if storage is StorageStatus.ACTIVATING:
                raise TransientError(f"read the manifest of {ref}: ECR is still restoring it") from error
            if storage is StorageStatus.ARCHIVED:
                raise UpstreamError(f"read the manifest of {ref}: the image is archived") from error
            raise UpstreamError(str(error)) from error

    # --- repositories

    def tags_are_immutable(self, repository: Repository) -> bool:
        """Also where only some are, by an exclusion in either direction, and where ECR does not say."""
        with aws_call(f"describe the repository {repository.path}"):
            answer: Any = self._client(repository).describe_repositories(
                registryId=repository.registry, repositoryNames=[repository.name]
            )
        with readable(f"describe the repository {repository.path}"):
            found = parse_describe_repositories(answer).repositories
        for detail in found:
            if detail.repository.name == repository.name:
                return detail.tag_mutability != MUTABLE
        raise AbsentError("repository", f"describe the repository {repository.path}: the answer does not hold it")

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


def _complain(failure: Any, what: str) -> None:
    """A tag that is gone is as it was to be."""
    code = failure.get("failureCode", "")
    if code in _TAG_GONE:
        return
    text = f"{what}: {code} {failure.get('failureReason', '')}".rstrip()
    raise TransientError(text) if code in _TRY_AGAIN else UpstreamError(text)
