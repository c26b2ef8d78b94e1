"""What a Kubernetes API server asks before it admits an object and what it is answered, and an image as a pod names it:
of Amazon ECR, of another registry, or unreadable. Pure.

Source: Kubernetes, "Dynamic Admission Control" (admission.k8s.io/v1). A later API server may send more
than is read here. `judgement.py` says which images an object names and what follows from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from chalicelib.domain.images.image import DIGEST, REGISTRY, ImageRef, Repository
from chalicelib.domain.images.names import ImageName, RegistryPlace, image_name, private_registry
from chalicelib.domain.images.text import cut, sanitize
from chalicelib.domain.policy.document import explained
from chalicelib.errors import ParameterError

_LONGEST_PATH, _LONGEST_REASON = 200, 300
_MISSING = re.compile(r"needs the key `(\w+)`")
_DEEP = 50
"""Levels of a review; no image is named below the twelfth."""
_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)
_Name = Annotated[str, msgspec.Meta(max_length=512)]


class Operation(StrEnum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class GroupVersionKind(msgspec.Struct, frozen=True):
    """Of the object as it is sent. `group` is "" for the core kinds."""

    kind: _Name
    group: _Name = ""
    version: _Name = ""


class AdmissionRequest(msgspec.Struct, frozen=True, rename="camel"):
    """`object` is null for DELETE, `oldObject` for CREATE and CONNECT. `dryRun`: nothing may be kept of it."""

    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    kind: GroupVersionKind
    operation: Operation
    namespace: _Name = ""
    dry_run: bool | None = None
    # Factories: the JSON Schema of the API cannot say a default that is Raw.
    object: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    old_object: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))


CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_RUNNING = 200


class RunningImages(msgspec.Struct, frozen=True):
    """What the Pods of a cluster run, by digest: at most 200. `cluster`: the UID of its namespace kube-system."""

    cluster: str
    digests: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_RUNNING)]

    def __post_init__(self) -> None:
        if not CLUSTER.fullmatch(self.cluster):
            raise ValueError("cluster is 1 to 128 letters, digits, `.`, `_`, `-`, and begins with a letter or digit")
        if not all(DIGEST.fullmatch(digest) for digest in self.digests):
            raise ValueError("a digest is sha256: and 64 hexadecimal digits")


class Remembered(msgspec.Struct, frozen=True):
    """How many digests are remembered as running in that cluster."""

    digests: int


class AdmissionReview(msgspec.Struct, frozen=True, rename="camel"):
    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: AdmissionRequest


class AdmissionStatus(msgspec.Struct, frozen=True):
    code: int
    message: str


class AdmissionResponse(msgspec.Struct, frozen=True):
    """`status`: only where it is not allowed."""

    uid: str
    allowed: bool
    status: AdmissionStatus | msgspec.UnsetType = msgspec.UNSET
    warnings: tuple[str, ...] = ()


class AdmissionAnswer(msgspec.Struct, frozen=True, rename="camel"):
    response: AdmissionResponse
    api_version: Literal["admission.k8s.io/v1"] = "admission.k8s.io/v1"
    kind: Literal["AdmissionReview"] = "AdmissionReview"


def read_review(content: bytes) -> AdmissionReview:
    """Raises ParameterError that names the field, `body` where it is no JSON."""
    review: AdmissionReview = decode(content, AdmissionReview, "")
    return review


def decode(content: bytes | msgspec.Raw, kind: Any, path: str) -> Any:
    """`content` as a `kind`. `path`: where it stands in the review. Raises ParameterError."""
    try:
        return _decoded(content, kind)
    except msgspec.ValidationError as error:
        said = explained(str(error), kind)
        missing = _MISSING.fullmatch(said.reason)
        inside = ".".join(p for p in (path, said.path, missing and missing[1]) if p and p != "$")
        raise _refusal(inside or "body", "must be given" if missing else said.reason) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refusal(path or "body", f"is no JSON: {error}") from error


def _decoded(content: bytes | msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        return msgspec.json.decode(_shallow(bytes(content)), type=kind)


def _shallow(content: bytes) -> bytes:
    """Null in place of what lies too deep to name an image. An API server takes 10,000 levels (of `managedFields`),
    Python 3.13 takes 9,998: a refusal would be a way in where the cluster ignores failures."""
    kept, depth, begun = bytearray(), 0, 0
    for mark in _MARK.finditer(content):
        if mark[0] in (b"{", b"["):
            depth += 1
            if depth == _DEEP:
                kept += content[begun : mark.start()] + b"null"
                begun = len(content)
        elif mark[0] in (b"}", b"]"):
            if depth == _DEEP:
                begun = mark.end()
            depth -= 1
    return bytes(kept + content[begun:])


def _refusal(path: str, reason: str) -> ParameterError:
    return ParameterError(sanitize(path, _LONGEST_PATH), sanitize(reason, _LONGEST_REASON))


_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PORT_ZEROS = re.compile(r":0+(?=[0-9])")
_LONGEST = 600
"""A registry's host, a repository of 256 characters, a tag of 128 and a digest are less."""
_SHOWN = 60


class AskedImage(msgspec.Struct, frozen=True):
    """`text` as the pod has it. `registry`: the private one of ECR whose host it names. `name` None: not in ECR, or,
    with a `registry`, no name that ECR knows."""

    text: str
    registry: RegistryPlace | None = None
    name: ImageName | None = None

    @property
    def foreign(self) -> bool:
        """Of another registry than ECR's."""
        return self.registry is None and self.name is None

    @property
    def shown(self) -> str:
        """For a line that people read, at most 60 characters: without the host where ECR is meant."""
        if self.name is None:
            return sanitize(self.text, _SHOWN)
        digest = (self.name.digest or "")[:19]
        mark = f":{self.name.tag}" if self.name.tag else f"@{digest}"
        repository = self.name.home.name
        room = max(_SHOWN - len(mark), _SHOWN // 2)
        return cut(f"{repository if len(repository) <= room else cut(repository, room)}{mark}", _SHOWN)

    @property
    def uri(self) -> str:
        """What to give to `lazaretto image`: nothing in it means anything to a shell. "" without `name`."""
        if self.name is None:
            return ""
        return str(self.name if self.name.digest is None else self.name.home.image(self.name.digest))

    def ref(self, digests: Mapping[tuple[Repository, str], str]) -> ImageRef | None:
        """`digests`: what tags point at. A digest beside a tag wins, as it does for a pull."""
        if self.name is None:
            return None
        digest = self.name.digest or digests.get((self.name.home, self.name.tag or ""))
        return None if digest is None else self.name.home.image(digest)


def read_image(text: str) -> AskedImage:
    host, slash, rest = text.partition("/")
    plain = _PORT_ZEROS.sub(":", host) + slash + rest  # or zeros could make any name longer than is read
    registry = private_registry(plain[:_LONGEST])
    name = image_name(plain) if len(plain) <= _LONGEST else None
    if name is None or not _is_told(name) or (registry is None and not name.home.public):
        name = None
    return AskedImage(text, registry, name)


def _is_told(name: ImageName) -> bool:
    """Whether ECR could have an image of that name."""
    tagged = name.tag is None or _TAG.fullmatch(name.tag) is not None
    return tagged and REGISTRY.fullmatch(name.home.registry) is not None
