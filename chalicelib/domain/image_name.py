"""An image as a workload names it (`host/repository:tag@digest`), where the host is an Amazon ECR registry. Pure.

What is stored and decided about goes by `ImageRef`; a name may hold a tag alone, and may mean another image tomorrow.
"""

from __future__ import annotations

import re

import msgspec

from chalicelib.domain.image import DIGEST, PUBLIC_REGION, REPOSITORY, Repository

# Also the hosts of FIPS and dual-stack endpoints, and those of other partitions.
_PRIVATE = re.compile(r"(?P<account>[0-9]{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.[a-z0-9.-]+")
_PUBLIC = "public.ecr.aws"
_LATEST = "latest"
_LONGEST = 1000


class ImageName(msgspec.Struct, frozen=True):
    """`digest` None: the name holds a tag alone. `tag` is None where a digest stands without one."""

    home: Repository
    tag: str | None = None
    digest: str | None = None

    def pinned(self, digest: str | None) -> ImageName:
        """With the digest the name was resolved to, where that is known."""
        return msgspec.structs.replace(self, digest=digest) if digest else self


def image_name(text: str | None) -> ImageName | None:
    """None: it names no image in ECR. A name without tag and digest means `latest`, as it does for whoever pulls."""
    host, _, rest = (text or "")[:_LONGEST].strip().partition("/")
    path, at, digest = rest.partition("@")
    path, _, tag = path.partition(":")
    home = _home(host.lower(), path)
    if home is None or (at and not DIGEST.fullmatch(digest)):
        return None
    return ImageName(home, tag or (None if at else _LATEST), digest or None)


def _home(host: str, path: str) -> Repository | None:
    if host == _PUBLIC:
        alias, _, name = path.partition("/")
        return Repository(f"public/{alias}", PUBLIC_REGION, name) if alias and REPOSITORY.fullmatch(name) else None
    if not (m := _PRIVATE.fullmatch(host)) or not REPOSITORY.fullmatch(path):
        return None
    return Repository(m["account"], m["region"], path)
