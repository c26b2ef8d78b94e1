"""What ECR Public answers: our registry with its aliases, its repositories, their images.

Its answers name the account where docker names the alias; who asks gives the alias. Source: ECR Public API reference
(DescribeRegistries, DescribeRepositories, DescribeImages).
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.domain.images.image import PUBLIC_REGION, ImageDetail, Repository, RepositoryDetail
from chalicelib.domain.images.registry import PublicRegistry
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.images.images import ImagesPage, RepositoriesPage, parse_describe_images
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.answer import Lower, read
from chalicelib.parsers.wire.dates import instant

ACTIVE = "ACTIVE"


class _Alias(Lower):
    name: str
    status: str
    primary_registry_alias: bool = False
    default_registry_alias: bool = False


class _Registry(Lower):
    registry_id: str
    aliases: list[_Alias]


class _Registries(Lower):
    registries: list[_Registry]
    next_token: str | None = None


class _Repository(Lower):
    registry_id: str
    repository_name: str
    repository_arn: str | None = None
    created_at: Any = None


class _Repositories(Lower):
    repositories: list[_Repository]
    next_token: str | None = None


def read_registries(answer: dict[str, Any]) -> tuple[tuple[PublicRegistry, ...], str | None]:
    """Those that have an alias to pull by, and the token of the next page. Raises RefusedPayloadError."""
    page = read(_Registries, answer)
    found = (_registry(one, f"$.registries[{n}]") for n, one in enumerate(page.registries))
    return tuple(one for one in found if one is not None), page.next_token


def _registry(wire: _Registry, at: str) -> PublicRegistry | None:
    """The primary alias is the one that the gallery and docker's commands show."""
    active = sorted(
        (a for a in wire.aliases if a.status == ACTIVE),
        key=lambda a: (not a.primary_registry_alias, not a.default_registry_alias, a.name),
    )
    account = identity.account(wire.registry_id, f"{at}.registryId")
    return PublicRegistry(account, tuple(a.name for a in active)) if active else None


def read_public_repositories(answer: dict[str, Any], alias: str) -> RepositoriesPage:
    """Raises RefusedPayloadError."""
    page = read(_Repositories, answer)
    return RepositoriesPage(
        tuple(_repository(one, alias, f"$.repositories[{n}]") for n, one in enumerate(page.repositories)),
        page.next_token,
    )


def _repository(wire: _Repository, alias: str, at: str) -> RepositoryDetail:
    name = identity.repository_name(wire.repository_name, f"{at}.repositoryName")
    home = Repository(f"public/{alias}", PUBLIC_REGION, name)
    return RepositoryDetail(home, wire.repository_arn, instant(wire.created_at, f"{at}.createdAt"))


def read_public_images(answer: dict[str, Any], home: Repository) -> ImagesPage:
    """Raises RefusedPayloadError, also where an answer is about another repository."""
    page = parse_describe_images(answer, PUBLIC_REGION)
    for n, image in enumerate(page.images):
        if image.ref.repository != home.name:
            raise RefusedPayloadError(f"$.imageDetails[{n}].repositoryName", f"not of {home.name}")
    return ImagesPage(tuple(_of(home, image) for image in page.images), page.next_token)


def _of(home: Repository, image: ImageDetail) -> ImageDetail:
    return msgspec.structs.replace(image, ref=home.image(image.ref.digest))
