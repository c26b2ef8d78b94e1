"""An image as a pod names it: one of Amazon ECR, one of somebody else's, or something that cannot be read. Pure."""

from __future__ import annotations

import re

import msgspec

from chalicelib.domain.images.image import REGISTRY, ImageRef
from chalicelib.domain.images.image_name import ImageName, image_name, private_registry
from chalicelib.domain.images.inert import cut, inert
from chalicelib.domain.images.registry_place import RegistryPlace

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
            return inert(self.text, _SHOWN)
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
        if self.name.digest is not None:
            return str(self.name.home.image(self.name.digest))
        host_and_repository = str(self.name.home.image("")).removesuffix("@")
        return f"{host_and_repository}:{self.name.tag}"

    def ref(self, digest: str | None) -> ImageRef | None:
        """`digest`: what its tag points at, where it names none itself: a digest beside a tag wins, as it does for
        whoever pulls."""
        if self.name is None:
            return None
        found = self.name.digest or digest
        return None if found is None else self.name.home.image(found)


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
