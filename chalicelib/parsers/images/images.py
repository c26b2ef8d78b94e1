"""Inventories of ECR and ECR Public: DescribeImages, DescribeRepositories, DescribeRegistries.

ECR's answers name no Region but in ARNs. ECR Public's name the account where docker names the alias, so the caller
gives the alias. Sources: ECR API reference (ImageDetail, Repository), ECR Public API reference.
"""

from __future__ import annotations

from functools import partial
from sys import intern
from typing import Any

import msgspec

from chalicelib.domain.images.image import (
    PUBLIC_REGION,
    ImageDetail,
    ImageRef,
    Repository,
    RepositoryDetail,
    Scan,
    StorageStatus,
)
from chalicelib.domain.images.names import PublicRegistry
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import scan_of, severity_counts
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Count, Lower, ScanStatus, Wire, decode, instant, json_bytes, read, read_each

_STORAGE = {s.value: s for s in StorageStatus}


class ImagesPage(msgspec.Struct, frozen=True):
    images: tuple[ImageDetail, ...]
    next_token: str | None = None


class RepositoriesPage(msgspec.Struct, frozen=True):
    repositories: tuple[RepositoryDetail, ...]
    next_token: str | None = None


class _Summary(Wire):
    image_scan_completed_at: Any = None
    finding_severity_counts: dict[str, Count] | None = None


class _Image(Wire):
    registry_id: str | None = None
    repository_name: str | None = None
    image_digest: str | None = None
    image_tags: tuple[str, ...] | None = None
    image_size_in_bytes: Count | None = None
    image_pushed_at: Any = None
    image_scan_status: ScanStatus | None = None
    image_scan_findings_summary: _Summary | None = None
    image_manifest_media_type: str | None = None
    artifact_media_type: str | None = None
    subject_manifest_digest: str | None = None
    image_status: str | None = None
    last_recorded_pull_time: Any = None
    last_archived_at: Any = None
    last_activated_at: Any = None


class _ImagesResponse(Wire):
    image_details: list[_Image]
    next_token: str | None = None


class _Scanning(Wire):
    scan_on_push: bool | None = None


class _Encryption(Wire):
    encryption_type: str | None = None
    kms_key: str | None = None


class _Repository(Wire):
    registry_id: str | None = None
    repository_name: str | None = None
    repository_arn: str | None = None
    created_at: Any = None
    image_tag_mutability: str | None = None
    image_scanning_configuration: _Scanning | None = None
    encryption_configuration: _Encryption | None = None


class _RepositoriesResponse(Wire):
    repositories: list[_Repository]
    next_token: str | None = None


_IMAGES = msgspec.json.Decoder(_ImagesResponse)
_REPOSITORIES = msgspec.json.Decoder(_RepositoriesResponse)


def parse_describe_images(payload: bytes | str | dict[str, Any], region: str = "") -> ImagesPage:
    """One page of DescribeImages, asked in `region`. Raises RefusedPayloadError(path, reason)."""
    page = decode(_IMAGES, json_bytes(payload))
    images = read_each(page.image_details, "$.imageDetails", partial(_image, region=region))
    return ImagesPage(tuple(images), page.next_token)


def parse_describe_repositories(payload: bytes | str | dict[str, Any]) -> RepositoriesPage:
    """One page of DescribeRepositories. Raises RefusedPayloadError(path, reason)."""
    page = decode(_REPOSITORIES, json_bytes(payload))
    return RepositoriesPage(tuple(read_each(page.repositories, "$.repositories", _repository)), page.next_token)


def _image(wire: _Image, region: str) -> ImageDetail:
    ref = ImageRef(
        intern(identity.account(wire.registry_id, "$.registryId")),
        region,
        intern(identity.repository_name(wire.repository_name, "$.repositoryName")),
        identity.digest(wire.image_digest, "$.imageDigest"),
    )
    summary = wire.image_scan_findings_summary or _Summary()
    counts = severity_counts(summary.finding_severity_counts)
    return ImageDetail(
        ref,
        tags=wire.image_tags or (),
        pushed_at=instant(wire.image_pushed_at, "$.imagePushedAt"),
        size_bytes=wire.image_size_in_bytes,
        media_type=_shared(wire.image_manifest_media_type),
        artifact_media_type=_shared(wire.artifact_media_type),
        subject_digest=identity.subject(wire.subject_manifest_digest),
        storage=_STORAGE.get(wire.image_status or "", StorageStatus.ACTIVE),
        last_pulled_at=instant(wire.last_recorded_pull_time, "$.lastRecordedPullTime"),
        archived_at=instant(wire.last_archived_at, "$.lastArchivedAt"),
        activated_at=instant(wire.last_activated_at, "$.lastActivatedAt"),
        scan=_scan(wire.image_scan_status, summary),
        summary_counts=None if counts is None else {severity.value: n for severity, n in counts.items()},
    )


def _shared(word: str | None) -> str | None:
    """A repository is held whole while it is compared, and all its images say the same few words."""
    return None if word is None else intern(word)


def _scan(status: ScanStatus | None, summary: _Summary) -> Scan | None:
    completed_at = instant(summary.image_scan_completed_at, "$.imageScanFindingsSummary.imageScanCompletedAt")
    return None if status is None else scan_of(status.status, status.description, scanned_at=completed_at)


def _repository(wire: _Repository) -> RepositoryDetail:
    name = identity.repository_name(wire.repository_name, "$.repositoryName")
    account = identity.account(wire.registry_id, "$.registryId")
    home = Repository(account, "", name)
    if wire.repository_arn:
        home = identity.repository_arn(wire.repository_arn, "$.repositoryArn")
        identity.agree("$.repositoryArn", home.name, name, "repository")
        identity.agree("$.repositoryArn", home.registry, account, "registry")
    scanning = wire.image_scanning_configuration or _Scanning()
    encryption = wire.encryption_configuration or _Encryption()
    return RepositoryDetail(
        home,
        wire.repository_arn,
        instant(wire.created_at, "$.createdAt"),
        wire.image_tag_mutability,
        scanning.scan_on_push,
        encryption.encryption_type,
        encryption.kms_key,
    )


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


class RegistriesPage(msgspec.Struct, frozen=True):
    """Those that have an alias to pull by."""

    registries: tuple[PublicRegistry, ...]
    next_token: str | None = None


class _PublicRepository(Lower):
    registry_id: str
    repository_name: str
    repository_arn: str | None = None
    created_at: Any = None


class _Repositories(Lower):
    repositories: list[_PublicRepository]
    next_token: str | None = None


def parse_registries(answer: dict[str, Any]) -> RegistriesPage:
    """One page of ECR Public's DescribeRegistries. Raises RefusedPayloadError."""
    page = read(_Registries, answer)
    found = read_each(page.registries, "$.registries", _registry)
    return RegistriesPage(tuple(one for one in found if one is not None), page.next_token)


def _registry(wire: _Registry) -> PublicRegistry | None:
    """The primary alias is the one that the gallery and docker's commands show."""
    active = sorted(
        (a for a in wire.aliases if a.status == ACTIVE),
        key=lambda a: (not a.primary_registry_alias, not a.default_registry_alias, a.name),
    )
    account = identity.account(wire.registry_id, "$.registryId")
    return PublicRegistry(account, tuple(a.name for a in active)) if active else None


def read_public_repositories(answer: dict[str, Any], alias: str) -> RepositoriesPage:
    """Raises RefusedPayloadError."""
    page = read(_Repositories, answer)
    repositories = read_each(page.repositories, "$.repositories", partial(_public_repository, alias=alias))
    return RepositoriesPage(tuple(repositories), page.next_token)


def _public_repository(wire: _PublicRepository, alias: str) -> RepositoryDetail:
    name = identity.repository_name(wire.repository_name, "$.repositoryName")
    home = Repository(f"public/{alias}", PUBLIC_REGION, name)
    return RepositoryDetail(home, wire.repository_arn, instant(wire.created_at, "$.createdAt"))


def read_public_images(answer: dict[str, Any], home: Repository) -> ImagesPage:
    """Raises RefusedPayloadError, also where an answer is about another repository."""
    page = parse_describe_images(answer, PUBLIC_REGION)
    for n, image in enumerate(page.images):
        if image.ref.repository != home.name:
            raise RefusedPayloadError(f"$.imageDetails[{n}].repositoryName", f"not of {home.name}")
    images = (msgspec.structs.replace(image, ref=home.image(image.ref.digest)) for image in page.images)
    return ImagesPage(tuple(images), page.next_token)
