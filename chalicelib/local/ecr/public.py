"""ECR Public as moto lacks it altogether: one account's registry, its aliases, repositories and images.

It scans, archives, replicates and signs nothing, sends no events, and gives no manifests; layers are not pushed here.
State and answers of the JSON protocol. Source: the service's model (2020-10-30).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef
from chalicelib.local.ecr.ecr import CONFIG, MANIFEST, LocalEcr

TARGET = "SpencerFrontendService."
ALIAS = "demo"
PAGE = 100
LONGEST_PAGE = 1000
Row = dict[str, Any]


class PublicRefusal(Exception):
    """What the service answers instead: `code` is its exception's name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PublicRepository:
    """`images` by digest, as DescribeImages words them, and beside each the manifest, if it was put by one."""

    def __init__(self, created_at: datetime) -> None:
        self.created_at = created_at
        self.images: dict[str, Row] = {}
        self.manifests: dict[str, str] = {}
        self.policy: str | None = None
        self.catalog: Row = {}
        self.tags: dict[str, str] = {}


class EcrPublic:
    """`account` owns the registry; AWS names it in answers where docker names the alias: the first of `aliases`."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.aliases = [ALIAS]
        self.repositories: dict[str, PublicRepository] = {}

    def hold(self, ref: ImageRef, tags: tuple[str, ...], media_type: str, pushed_at: datetime) -> None:
        """The image, without anyone pushing it. A tag is at one image at a time."""
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
        call: Callable[[Row], Row] = getattr(self, f"_{_snake(operation)}", self._unknown)
        try:
            return 200, json.dumps(self._asked(call, request)).encode()
        except PublicRefusal as refusal:
            return 400, json.dumps({"__type": refusal.code, "message": str(refusal)}).encode()

    def _asked(self, call: Callable[[Row], Row], request: Row) -> Row:
        if request.get("registryId", self.account) != self.account:
            raise PublicRefusal("RegistryNotFoundException", f"no registry {request['registryId']!r} of yours")
        return call(request)

    def _unknown(self, request: Row) -> Row:
        raise PublicRefusal("UnsupportedCommandException", "the local ECR Public does not know this call")

    # ---- registry and repositories

    def _describe_registries(self, request: Row) -> Row:
        aliases = [
            {"name": name, "status": "ACTIVE", "primaryRegistryAlias": not n, "defaultRegistryAlias": not n}
            for n, name in enumerate(self.aliases)
        ]
        arn = f"arn:aws:ecr-public::{self.account}:registry/{self.account}"
        uri = f"public.ecr.aws/{self.aliases[0]}" if self.aliases else ""
        registry = {
            "registryId": self.account,
            "registryArn": arn,
            "registryUri": uri,
            "verified": False,
            "aliases": aliases,
        }
        return _page("registries", [registry], request)

    def _describe_repositories(self, request: Row) -> Row:
        names = request.get("repositoryNames")
        for name in names or ():
            self._home({"repositoryName": name})
        return _page("repositories", [self._repository(n) for n in names or sorted(self.repositories)], request)

    def _create_repository(self, request: Row) -> Row:
        name = request["repositoryName"]
        if name in self.repositories:
            raise PublicRefusal("RepositoryAlreadyExistsException", f"{name!r} is there already")
        made = self.repositories[name] = PublicRepository(LocalEcr.clock.now())
        made.catalog = request.get("catalogData") or {}
        made.tags = {tag["Key"]: tag.get("Value", "") for tag in request.get("tags") or ()}
        return {"repository": self._repository(name), "catalogData": made.catalog}

    def _delete_repository(self, request: Row) -> Row:
        if self._home(request).images and not request.get("force"):
            raise PublicRefusal("RepositoryNotEmptyException", f"{request['repositoryName']!r} holds images")
        gone = self._repository(request["repositoryName"])
        del self.repositories[request["repositoryName"]]
        return {"repository": gone}

    def _get_repository_catalog_data(self, request: Row) -> Row:
        return {"catalogData": self._home(request).catalog}

    def _put_repository_catalog_data(self, request: Row) -> Row:
        self._home(request).catalog = request["catalogData"]
        return {"catalogData": request["catalogData"]}

    def _get_repository_policy(self, request: Row) -> Row:
        text = self._home(request).policy
        if text is None:
            raise PublicRefusal("RepositoryPolicyNotFoundException", "the repository has no policy")
        return {"registryId": self.account, "repositoryName": request["repositoryName"], "policyText": text}

    def _set_repository_policy(self, request: Row) -> Row:
        self._home(request).policy = request["policyText"]
        return self._get_repository_policy(request)

    def _delete_repository_policy(self, request: Row) -> Row:
        former = self._get_repository_policy(request)
        self._home(request).policy = None
        return former

    def _list_tags_for_resource(self, request: Row) -> Row:
        return {"tags": [{"Key": k, "Value": v} for k, v in self._tagged(request).tags.items()]}

    def _tag_resource(self, request: Row) -> Row:
        self._tagged(request).tags |= {tag["Key"]: tag.get("Value", "") for tag in request["tags"]}
        return {}

    def _untag_resource(self, request: Row) -> Row:
        for name in request["tagKeys"]:
            self._tagged(request).tags.pop(name, None)
        return {}

    # ---- images

    def _describe_images(self, request: Row) -> Row:
        home, ids = self._home(request), request.get("imageIds")
        if not ids:
            return _page("imageDetails", [_shown(image) for image in home.images.values()], request)
        found = [image for one in ids for image in home.images.values() if _named(image, one)]
        if len(found) < len(ids):
            raise PublicRefusal("ImageNotFoundException", f"not every image is in {request['repositoryName']!r}")
        return {"imageDetails": [_shown(image) for image in found]}

    def _describe_image_tags(self, request: Row) -> Row:
        tags = [
            {"imageTag": tag, "createdAt": image["imagePushedAt"], "imageDetail": _without_tags(image)}
            for image in self._home(request).images.values()
            for tag in image["imageTags"]
        ]
        return _page("imageTagDetails", tags, request)

    def _put_image(self, request: Row) -> Row:
        """The digest is that of the manifest's bytes, or the one that is given: images are told by it."""
        name, manifest, tag = request["repositoryName"], request["imageManifest"], request.get("imageTag")
        home = self._home(request)
        digest = request.get("imageDigest") or f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
        known = home.images.get(digest)
        if known is not None and (tag is None or tag in known["imageTags"]):
            raise PublicRefusal("ImageAlreadyExistsException", f"{digest} is in {name!r} already")
        media_type = request.get("imageManifestMediaType") or json.loads(manifest).get("mediaType") or MANIFEST
        ref = ImageRef(f"public/{self.aliases[0]}", PUBLIC_REGION, name, digest)
        self.hold(ref, (tag,) if tag else (), media_type, LocalEcr.clock.now())
        home.manifests[digest] = manifest
        image_id = {"imageDigest": digest} | ({"imageTag": tag} if tag else {})
        return {
            "image": {
                "registryId": self.account,
                "repositoryName": name,
                "imageId": image_id,
                "imageManifest": manifest,
                "imageManifestMediaType": media_type,
            }
        }

    def _batch_delete_image(self, request: Row) -> Row:
        """By tag: the tag, and with the last one the image. By digest: the image."""
        home, gone, failures = self._home(request), [], []
        for one in request["imageIds"]:
            image = next((image for image in home.images.values() if _named(image, one)), None)
            if image is None:
                reason = "Requested image not found"
                failures.append({"imageId": one, "failureCode": "ImageNotFound", "failureReason": reason})
                continue
            if one.get("imageTag"):
                image["imageTags"].remove(one["imageTag"])
            if not one.get("imageTag") or not image["imageTags"]:
                del home.images[image["imageDigest"]]
            gone.append({"imageDigest": image["imageDigest"]} | one)
        return {"imageIds": gone, "failures": failures}

    # ---- what is shown

    def _home(self, request: Row) -> PublicRepository:
        name = str(request.get("repositoryName"))
        if name not in self.repositories:
            raise PublicRefusal("RepositoryNotFoundException", f"no public repository {name!r}")
        return self.repositories[name]

    def _tagged(self, request: Row) -> PublicRepository:
        return self._home({"repositoryName": str(request.get("resourceArn")).partition(":repository/")[2]})

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


def _shown(image: Row) -> Row:
    return image if image["imageTags"] else _without_tags(image)


def _without_tags(image: Row) -> Row:
    return {key: value for key, value in image.items() if key != "imageTags"}


def _page(name: str, rows: list[Row], request: Row) -> Row:
    size = min(LONGEST_PAGE, int(request.get("maxResults") or PAGE))
    try:
        start = int(base64.b64decode(request.get("nextToken") or "") or 0)
    except ValueError:
        raise PublicRefusal("InvalidParameterException", "Invalid parameter at 'nextToken'") from None
    end = start + size
    token = {"nextToken": base64.b64encode(str(end).encode()).decode()} if end < len(rows) else {}
    return {name: rows[start:end]} | token


def _snake(operation: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in operation).removeprefix("_")
