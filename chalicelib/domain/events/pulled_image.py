"""The image that somebody tried to pull, found in the texts in which ECS, the kubelet and docker name it. Pure.

Only names of Amazon ECR are found: private registries by any of their hosts (dual-stack, FIPS and China too), public
ones, and repositories named by ARN. Why it could not be pulled is `pull_failure.py`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from chalicelib.domain.images.image import DIGEST, PUBLIC_REGION, REPOSITORY, Repository
from chalicelib.domain.images.image_name import ImageName

_PRIVATE = (
    r"(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]{4,40})"
    r"\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
)
_HOST = re.compile(rf"(?P<scheme>https?://)?(?:{_PRIVATE}|(?P<public>public\.ecr\.aws))/", re.ASCII)
_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9._/-]{1,320})(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_MANIFEST = re.compile(
    r"v2/(?P<name>[a-z0-9._/-]{1,320}?)/manifests/(?P<object>[A-Za-z0-9_][A-Za-z0-9._:-]{0,127})", re.ASCII
)
_REPOSITORY_ARN = re.compile(
    r"arn:aws[a-z-]*:ecr:(?P<region>[a-z0-9-]{4,40}):(?P<account>\d{12}):repository/(?P<name>[a-z0-9._/-]{1,256})",
    re.ASCII,
)
_ANY_ARN = re.compile(r"\barn:aws[a-z-]*:[^\s\"',]+")
_ANY_NAME = re.compile(rf"{_HOST.pattern}[^\s\"'`,)\]]*?(?=:?(?:[\s\"'`,)\]]|$))")
_PUNCTUATION = "./_-"


def named_image(text: str) -> ImageName | None:
    """The first image that an error text names, with what the text says of it elsewhere; neither tag nor digest where
    it names the repository alone. None: it names none."""
    named = [*_references(text), *_manifests(text)]
    if not named:
        return next(_by_arn(text), None)
    home = named[0].home
    same = [one for one in named if one.home == home]
    tag = next((one.tag for one in same if one.tag), None)
    asked = None if tag else next((one.digest for one in same if one.digest), None)
    return ImageName(home, tag, written_digest(text, home) or asked)


def written_digest(text: str, home: Repository) -> str | None:
    """The digest of `REPOSITORY:TAG@DIGEST`: ECS writes the one it has chosen for a tag behind it."""
    return next((one.digest for one in _references(text) if one.home == home and one.digest), None)


def manifest_digests(text: str) -> tuple[str, ...]:
    """Digests of the manifests that were asked for by URL: of an index, perhaps of one of its images."""
    return tuple(dict.fromkeys(one.digest for one in _manifests(text) if one.digest))


def without_names(text: str) -> str:
    """The text with every image, URL of a registry and ARN replaced: what they are called is no part of the reason."""
    return _ANY_NAME.sub("IMAGE", _ANY_ARN.sub("ARN", text))


def short_name(image: ImageName) -> str:
    """Without the registry's host; of a digest the first twelve digits."""
    if image.tag:
        return f"{image.home.name}:{image.tag}"
    return f"{image.home.name}@{image.digest[:19]}" if image.digest else image.home.name


def full_name(image: ImageName) -> str:
    """As docker would pull it."""
    tag = f":{image.tag}" if image.tag else ""
    host = str(image.home.image("")).removesuffix("@")
    return f"{host}{tag}@{image.digest}" if image.digest else f"{host}{tag}"


def _references(text: str) -> Iterator[ImageName]:
    """Names as `docker pull` takes them."""
    for host in _HOST.finditer(text):
        rest = _REFERENCE.match(text, host.end())
        if rest is None or (host["scheme"] and rest["name"].startswith("v2/")):
            continue
        bare = rest["tag"] is None and rest["digest"] is None
        home = _home(host, rest["name"].rstrip(_PUNCTUATION) if bare else rest["name"])
        if home is not None:
            yield ImageName(home, rest["tag"].rstrip(".") if rest["tag"] else None, rest["digest"])


def _manifests(text: str) -> Iterator[ImageName]:
    """What was asked of a registry by the URL of a manifest, by tag or by digest."""
    for host in _HOST.finditer(text):
        rest = _MANIFEST.match(text, host.end())
        home = _home(host, rest["name"]) if rest is not None else None
        if rest is None or home is None:
            continue
        named = rest["object"].rstrip(".:")
        yield ImageName(home, None, named) if DIGEST.fullmatch(named) else ImageName(home, named.partition(":")[0])


def _by_arn(text: str) -> Iterator[ImageName]:
    for arn in _REPOSITORY_ARN.finditer(text):
        name = arn["name"].rstrip(_PUNCTUATION)
        if REPOSITORY.fullmatch(name):
            yield ImageName(Repository(arn["account"], arn["region"], name))


def _home(host: re.Match[str], name: str) -> Repository | None:
    if host["public"]:
        alias, _, name = name.partition("/")
        return Repository(f"public/{alias}", PUBLIC_REGION, name) if REPOSITORY.fullmatch(name) and alias else None
    return Repository(host["account"], host["region"], name) if REPOSITORY.fullmatch(name) else None
