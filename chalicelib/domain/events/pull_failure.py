"""Why an image could not be pulled, and which image of Amazon ECR it was, read from the error texts of ECS, containerd,
docker and the kubelet.

A text is classified by what it says, never by what the image is called; an unknown one stays UNKNOWN.
`domain/pulls/explanation.py` says whether Lazaretto is the cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from chalicelib.domain.images.image import DIGEST, REPOSITORY, Repository
from chalicelib.domain.images.names import AWS_DOMAINS, ImageName, repository_at

_HOST = re.compile(
    r"(?P<scheme>https?://)?(?P<host>\d{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]{4,40}"
    rf"\.(?:{'|'.join(map(re.escape, sorted(AWS_DOMAINS)))})|public\.ecr\.aws|ecr-public\.aws\.com)/",
    re.ASCII,
)
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


def _references(text: str) -> Iterator[ImageName]:
    """Names as `docker pull` takes them."""
    for host in _HOST.finditer(text):
        rest = _REFERENCE.match(text, host.end())
        if rest is None or (host["scheme"] and rest["name"].startswith("v2/")):
            continue
        bare = rest["tag"] is None and rest["digest"] is None
        home = repository_at(host["host"], rest["name"].rstrip(_PUNCTUATION) if bare else rest["name"])
        if home is not None:
            yield ImageName(home, rest["tag"].rstrip(".") if rest["tag"] else None, rest["digest"])


def _manifests(text: str) -> Iterator[ImageName]:
    """What was asked of a registry by the URL of a manifest, by tag or by digest."""
    for host in _HOST.finditer(text):
        rest = _MANIFEST.match(text, host.end())
        home = repository_at(host["host"], rest["name"]) if rest is not None else None
        if rest is None or home is None:
            continue
        named = rest["object"].rstrip(".:")
        yield ImageName(home, None, named) if DIGEST.fullmatch(named) else ImageName(home, named.partition(":")[0])


def _by_arn(text: str) -> Iterator[ImageName]:
    for arn in _REPOSITORY_ARN.finditer(text):
        name = arn["name"].rstrip(_PUNCTUATION)
        if REPOSITORY.fullmatch(name):
            yield ImageName(Repository(arn["account"], arn["region"], name))


MAX_SAID = 4_000


class PullFailureCause(StrEnum):
    """QUARANTINE and DENY are ours; ARCHIVED and RESTORING are told by the registry only; all others by the text."""

    QUARANTINE = "QUARANTINE"
    DENY = "DENY"
    NOT_FOUND = "NOT_FOUND"
    NO_REPOSITORY = "NO_REPOSITORY"
    ARCHIVED = "ARCHIVED"
    RESTORING = "RESTORING"
    ACCESS_DENIED = "ACCESS_DENIED"
    NOT_SIGNED_IN = "NOT_SIGNED_IN"
    WRONG_PLATFORM = "WRONG_PLATFORM"
    THROTTLED = "THROTTLED"
    UNREACHABLE = "UNREACHABLE"
    NO_SPACE = "NO_SPACE"
    DAMAGED = "DAMAGED"
    BAD_NAME = "BAD_NAME"
    UPSTREAM = "UPSTREAM"
    REGISTRY_ERROR = "REGISTRY_ERROR"
    NO_SECRET = "NO_SECRET"  # noqa: S105 - a word, no secret
    UNKNOWN = "UNKNOWN"

    @property
    def ours(self) -> bool:
        return self in (PullFailureCause.QUARANTINE, PullFailureCause.DENY)

    @property
    def unexplained(self) -> bool:
        """The registry did not find it, or the text does not say: what is stored, or the registry, may tell why."""
        return self in (PullFailureCause.NOT_FOUND, PullFailureCause.UNKNOWN)

    @property
    def refused(self) -> bool:
        return self in (PullFailureCause.ACCESS_DENIED, PullFailureCause.NOT_SIGNED_IN)


_BLOB_REFUSED = re.compile(r"/blobs/(?P<digest>sha256:[0-9a-f]{64})[\"']?: 40[13]", re.ASCII)
_STATUS = r"(?:status(?: ?code)?[^a-z0-9]{{0,3}}(?:\[[^\]]*\]: ?)?|http |: |\()({0})\b"
_SAYS: tuple[tuple[PullFailureCause, str], ...] = (
    (
        PullFailureCause.NO_SECRET,
        r"retrieve secrets? |fetch(?:ing)? secret|from secrets manager|registry auth from asm|ssm:get",
    ),
    (
        PullFailureCause.WRONG_PLATFORM,
        r"no matching manifest for|no match for (?:current )?platform|descriptor matching platform"
        r"|no image found in (?:manifest list|image index)|operating system .{0,40}cannot be used"
        r"|does not match the detected host platform",
    ),
    (PullFailureCause.NO_SPACE, r"no space left on device|disk quota exceeded|not enough space"),
    (
        PullFailureCause.THROTTLED,
        r"toomanyrequests|too many requests|pull rate limit|rate exceeded|throttl|requestlimitexceeded|"
        + _STATUS.format("429"),
    ),
    (PullFailureCause.UPSTREAM, r"upstreamimage|upstream (?:registry|image|repository)|pull ?through cache"),
    (PullFailureCause.NO_REPOSITORY, r"repository with name .{1,300} does not exist|name unknown|repositorynotfound"),
    (
        PullFailureCause.NOT_SIGNED_IN,
        r"no basic auth credentials|authorization token has expired|authentication required|incorrect username"
        r"|anonymous token|401 unauthorized|expiredtoken|" + _STATUS.format("401"),
    ),
    (
        PullFailureCause.ACCESS_DENIED,
        r"not authorized to perform|accessdenied|access denied|access to the resource is denied|403 forbidden"
        r"|\bdenied: |" + _STATUS.format("403"),
    ),
    (
        PullFailureCause.UNREACHABLE,
        r"i/o timeout|dial tcp|no such host|connection refused|connection reset|handshake timeout|handshake failure"
        r"|deadline exceeded|request canceled|context canceled|client\.timeout|connection issue|network configuration"
        r"|x509:|network is unreachable|no route to host|request send failed|send request failed|server misbehaving"
        r"|broken pipe|timed out",
    ),
    (
        PullFailureCause.DAMAGED,
        r"digest mismatch|unexpected commit digest|verification failed|failed to verify|layers and diffids"
        r"|failed to register layer|failed to extract layer|invalid tar header|unexpected eof|failed commit on ref",
    ),
    (
        PullFailureCause.NOT_FOUND,
        r"manifest unknown|not found|does not exist|imagenotfound|no such image|"
        r"check whether the image exists|" + _STATUS.format("404"),
    ),
    (
        PullFailureCause.BAD_NAME,
        r"invalid reference format|invalidimagename|parse image (?:name|reference)|repository name must be lowercase",
    ),
    (
        PullFailureCause.REGISTRY_ERROR,
        r"internal server error|bad gateway|service unavailable|gateway timeout|internalfailure|serverexception|"
        + _STATUS.format("50[0234]"),
    ),
)
"""Texts, which `re` compiles when the first failed pull is read: all functions load this module, few ever read one."""


def classify(text: str, digest: str | None = None) -> PullFailureCause:
    """The first that is said, the more telling before the more general. `digest`: by which it was pulled, if so."""
    text = text[:MAX_SAID]
    if _is_unknown_digest(text, digest):
        return PullFailureCause.NOT_FOUND
    said = " ".join(without_names(text).lower().replace("’", "'").split())
    return next((cause for cause, pattern in _SAYS if re.search(pattern, said)), PullFailureCause.UNKNOWN)


def _is_unknown_digest(text: str, digest: str | None) -> bool:
    """containerd asks for a digest as a blob when the registry answered 404 to it as a manifest, and then reports the
    403 with which ECR answers that: access was not denied, the manifest is missing.
    Source: containerd, core/remotes/docker/resolver.go, Resolve."""
    refused = {m["digest"] for m in _BLOB_REFUSED.finditer(text)}
    return "resolve ref" in text and bool(refused) and (digest or next(iter(refused))) in refused


_ROLE = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):sts::(?P<account>\d{12}):assumed-role/(?P<name>[\w+=,.@-]{1,64})/", re.ASCII
)
_ACTION = re.compile(r"perform: (?P<action>[a-z0-9-]+:[A-Za-z]+)", re.ASCII)
_EXPLICIT = re.compile(r"with an explicit deny in an? (?P<where>[A-Za-z -]{3,40}?(?:policy|boundary))")
_WANTING = re.compile(r"because no (?P<where>[A-Za-z -]{3,40}?(?:policy|boundary)) allows")
_PLATFORM = re.compile(r"(?:manifest for|platform) '?(?P<platform>[a-z]+/[a-z0-9]+(?:/v\d+)?)", re.ASCII)


class PullRefusal(msgspec.Struct, frozen=True):
    """What IAM says beside its no. `role`: ARN without a path of who asked; `deny`: the kind of policy that denies;
    `wanting`: the kind that would have to allow. None: not said. `layers`: S3 refused a layer, not ECR the image."""

    role: str | None = None
    action: str | None = None
    deny: str | None = None
    wanting: str | None = None
    layers: bool = False


def read_refusal(text: str) -> PullRefusal:
    """Source: IAM user guide, "Troubleshoot access denied error messages"."""
    said = " ".join(text[:MAX_SAID].split())
    role, action = _ROLE.search(said), _ACTION.search(said)
    deny, wanting = _EXPLICIT.search(said), _WANTING.search(said)
    return PullRefusal(
        f"arn:{role['partition']}:iam::{role['account']}:role/{role['name']}" if role else None,
        action["action"] if action else None,
        deny["where"] if deny else None,
        wanting["where"] if wanting else None,
        "starport-layer-bucket" in said,
    )


def wanted_platform(text: str) -> str | None:
    """`linux/arm64/v8` where the text says for which platform there was nothing."""
    found = _PLATFORM.search(text[:MAX_SAID])
    return found["platform"] if found else None
