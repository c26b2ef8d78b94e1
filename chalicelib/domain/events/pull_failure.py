"""Why an image could not be pulled, as far as the error text of ECS, containerd, docker or the kubelet says. Pure.

A text is classified by what it says, never by what the image is called. What no line here knows stays UNKNOWN. Whether
Lazaretto is behind it is asked of what is stored, and told by `pull_explanation.py`.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from chalicelib.domain.events.pulled_image import without_names

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
    def missing(self) -> bool:
        """The registry did not give it, or the text does not say: what is stored, or the registry, may tell why."""
        return self in (PullFailureCause.NOT_FOUND, PullFailureCause.NO_REPOSITORY, PullFailureCause.UNKNOWN)

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
    403 with which ECR answers that: nobody was denied anything, the manifest is not there.
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
