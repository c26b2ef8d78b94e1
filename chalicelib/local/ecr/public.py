"""ECR Public, which moto does not have: one account's registry, its aliases, repositories and images.

State and answers of the JSON protocol, as far as Lazaretto and the demo use it. ECR Public sends no events and scans
nothing; layers, settings and tags of repositories are left out. Source: the service's model (2020-10-30).
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.ecr.ecr import CONFIG
from chalicelib.local.pages import page_of

TARGET = "SpencerFrontendService."
ALIAS = "demo"
PAGE = 100
LONGEST_PAGE = 1000
Row = dict[str, Any]


class PublicRefusal(Exception):
    """An error answer: `code` is the name of the service's exception."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PublicRepository(msgspec.Struct):
    """`images` by digest, as DescribeImages words them."""

    created_at: datetime
    images: dict[str, Row] = {}


class EcrPublic:
    """Answers name the registry by `account`, image addresses by the first of `aliases`."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.aliases = [ALIAS]
        self.repositories: dict[str, PublicRepository] = {}

    def hold(self, ref: ImageRef, tags: tuple[str, ...], media_type: str, pushed_at: datetime) -> None:
        """Stores the image without a push. A tag names one image at a time."""
        home = self.repositories.setdefault(ref.repository, PublicRepository(pushed_at))
        for other in home.images.values():
            other["imageTags"] = [t for t in other["imageTags"] if t not in tags]
        former = home.images.get(ref.digest, {"imageTags": [], "imagePushedAt": pushed_at.timestamp()})
        home.images[ref.digest] = {
            "registryId": self.account,
            "repositoryName": ref.repository,
            "imageDigest": ref.digest,
            "imageTags": [*dict.fromkeys((*former["imageTags"], *tags))],
            "imagePushedAt": former["imagePushedAt"],
            "imageManifestMediaType": media_type,
            "artifactMediaType": CONFIG,
        }

    def answer(self, operation: str, request: Row) -> tuple[int, bytes]:
        """Status and body for one call of the JSON protocol."""
        try:
            return 200, json.dumps(self._answer(operation, request)).encode()
        except PublicRefusal as refusal:
            return 400, json.dumps({"__type": refusal.code, "message": str(refusal)}).encode()

    def _answer(self, operation: str, request: Row) -> Row:
        if request.get("registryId", self.account) != self.account:
            raise PublicRefusal("RegistryNotFoundException", f"no registry {request['registryId']!r} of yours")
        match operation:
            case "DescribeRegistries":
                return self._describe_registries(request)
            case "DescribeRepositories":
                return self._describe_repositories(request)
            case "DescribeImages":
                return self._describe_images(request)
        raise PublicRefusal("UnsupportedCommandException", "the local ECR Public does not know this call")

    # ---- registry and repositories

    def _describe_registries(self, request: Row) -> Row:
        aliases = [
            {"name": name, "status": "ACTIVE", "primaryRegistryAlias": not n, "defaultRegistryAlias": not n}
            for n, name in enumerate(self.aliases)
        ]
        arn = f"arn:aws:ecr-public::{self.account}:registry/{self.account}"
        uri = f"public.ecr.aws/{self.aliases[0]}" if self.aliases else ""
        registry = {"registryId": self.account, "registryArn": arn, "registryUri": uri, "aliases": aliases}
        return _page("registries", [registry], request)

    def _describe_repositories(self, request: Row) -> Row:
        names = request.get("repositoryNames")
        for name in names or ():
            self._home({"repositoryName": name})
        return _page("repositories", [self._repository(n) for n in names or sorted(self.repositories)], request)

    # ---- images

    def _describe_images(self, request: Row) -> Row:
        home, ids = self._home(request), request.get("imageIds")
        if not ids:
            return _page("imageDetails", list(home.images.values()), request)
        found = [image for one in ids for image in home.images.values() if _named(image, one)]
        if len(found) < len(ids):
            raise PublicRefusal("ImageNotFoundException", f"not every image is in {request['repositoryName']!r}")
        return {"imageDetails": found}

    # ---- what is shown

    def _home(self, request: Row) -> PublicRepository:
        name = str(request.get("repositoryName"))
        if name not in self.repositories:
            raise PublicRefusal("RepositoryNotFoundException", f"no public repository {name!r}")
        return self.repositories[name]

    def _repository(self, name: str) -> Row:
        return {
            "repositoryArn": f"arn:aws:ecr-public::{self.account}:repository/{name}",
            "registryId": self.account,
            "repositoryName": name,
            "repositoryUri": f"public.ecr.aws/{self.aliases[0]}/{name}",
            "createdAt": self.repositories[name].created_at.timestamp(),
        }


def _named(image: Row, image_id: dict[str, str]) -> bool:
    digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
    return digest in (None, image["imageDigest"]) and (tag is None or tag in image["imageTags"])


def _page(name: str, rows: list[Row], request: Row) -> Row:
    try:
        page, more = page_of(rows, request.get("nextToken"), min(LONGEST_PAGE, request.get("maxResults", PAGE)))
    except ValueError:
        raise PublicRefusal("InvalidParameterException", "Invalid parameter at 'nextToken'") from None
    return {name: page} | more
