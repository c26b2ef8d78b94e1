"""The envelope EventBridge puts around every event, and the identities in it: a malformed or contradictory one is
refused.

`at` is always the JSON path of the value that is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from chalicelib.domain.images.image import DIGEST, REGION, REPOSITORY, ImageRef, Repository
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Wire, decode, required_instant

_ACCOUNT = re.compile(r"[0-9]{12}")
_ARN = re.compile(r"arn:aws[a-z-]*:ecr:([^:]*):([^:]*):repository/(.*)", re.DOTALL)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,299}")
_LONGEST_NAME = 256
_NO_REGION = ("", "N/A")


def account(text: str | None, at: str) -> str:
    return _matching(text, _ACCOUNT, at, "an account id is 12 digits")


def region(text: str | None, at: str) -> str:
    return _matching(text, REGION, at, "not a Region")


def digest(text: str | None, at: str) -> str:
    return _matching(text, DIGEST, at, "a digest is sha256: and 64 hex digits")


def subject(text: str | None) -> str | None:
    """What a manifest says it refers to. A pusher writes it: what names nothing in ECR (None) spoils nothing else."""
    return text if text and DIGEST.fullmatch(text) else None


def repository_name(text: str | None, at: str) -> str:
    if text and len(text) > _LONGEST_NAME:
        raise RefusedPayloadError(at, f"a repository name of {len(text)} characters")
    return _matching(text, REPOSITORY, at, "not a repository name")


def tag(text: str | None, at: str) -> str | None:
    """A tag is a key here: what no registry would take is refused. Absent and empty are None."""
    return _matching(text, _TAG, at, "not an image tag") if text else None


def repository_arn(arn: str, at: str) -> Repository:
    """From `arn:aws:ecr:REGION:ACCOUNT:repository/NAME`."""
    region_, account_, name = _parts(arn, at)
    return Repository(account(account_, at), region(region_, at), repository_name(name, at))


def image_arn(arn: str, at: str) -> ImageRef:
    """From `arn:aws:ecr:REGION:ACCOUNT:repository/NAME/sha256:HEX`: how Inspector names an image."""
    region_, account_, rest = _parts(arn, at)
    name, slash, hexes = rest.rpartition("/sha256:")
    if not slash:
        raise RefusedPayloadError(at, "names no digest")
    home = Repository(account(account_, at), region(region_, at), repository_name(name, at))
    return home.image(digest(f"sha256:{hexes}", at))


def agree(at: str, here: str | None, there: str | None, what: str) -> None:
    """Refuses two different answers to one question; an absent answer contradicts nothing."""
    if here and there and here != there:
        raise RefusedPayloadError(at, f"{what} {here[:100]} contradicts {there[:100]}")


def agree_on_region(at: str, here: str | None, there: str) -> None:
    """As `agree`; older Inspector events say "N/A"."""
    if here not in _NO_REGION:
        agree(at, here, there, "Region")


def agree_on_image(at: str, here: ImageRef, there: ImageRef) -> None:
    agree(at, here.registry, there.registry, "registry")
    agree(at, here.region, there.region, "Region")
    agree(at, here.repository, there.repository, "repository")
    agree(at, here.digest, there.digest, "digest")


def is_ecr_arn(text: str) -> bool:
    return _ARN.fullmatch(text) is not None


def resources_agree(resources: Iterable[str] | None, ref: ImageRef) -> None:
    """The ECR ARNs among an event's `resources` must name this image or its repository."""
    for n, arn in enumerate(resources or ()):
        at = f"$.resources[{n}]"
        if not is_ecr_arn(arn):
            continue
        if "/sha256:" in arn:
            agree_on_image(at, image_arn(arn, at), ref)
        else:
            agree_on_image(at, repository_arn(arn, at).image(ref.digest), ref)


def _matching(text: str | None, pattern: re.Pattern[str], at: str, reason: str) -> str:
    if not text:
        raise RefusedPayloadError(at, "missing")
    # The patterns write \d, which without this would take the digits of every script.
    if not text.isascii() or not pattern.fullmatch(text):
        raise RefusedPayloadError(at, f"{reason}: {text[:100]!r}")
    return text


def _parts(arn: str, at: str) -> tuple[str, str, str]:
    if not (m := _ARN.fullmatch(arn)):
        raise RefusedPayloadError(at, f"not the ARN of an ECR repository or image: {arn[:150]!r}")
    return m[1], m[2], m[3]


_T = TypeVar("_T")


class Envelope(Wire):
    """`resources` are ARNs and may be empty; `id` is opaque."""

    source: str
    detail: msgspec.Raw
    detail_type: str = msgspec.field(name="detail-type")
    id: str | None = None
    account: str | None = None
    region: str | None = None
    time: Any = None
    resources: tuple[str, ...] | None = None

    @property
    def event_id(self) -> str:
        return self.id or ""

    def read_detail(self, decoder: msgspec.json.Decoder[_T]) -> _T:
        return decode(decoder, self.detail, "$.detail")

    def happened_at(self) -> datetime:
        return required_instant(self.time, "$.time")

    def home(self, name: str | None, at: str = "$.detail.repository-name") -> Repository:
        """A repository of the account and Region the event comes from."""
        return Repository(
            identity.account(self.account, "$.account"),
            identity.region(self.region, "$.region"),
            identity.repository_name(name, at),
        )

    def image(self, name: str | None, digest: str | None) -> ImageRef:
        """As `home`, an image; the event's own `resources` must agree."""
        ref = self.home(name).image(identity.digest(digest, "$.detail.image-digest"))
        identity.resources_agree(self.resources, ref)
        return ref
