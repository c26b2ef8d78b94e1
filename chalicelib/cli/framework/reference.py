"""How people write an image on the command line, as the parameters of a request. Pure."""

from __future__ import annotations

import re

from chalicelib.domain.images.image import PUBLIC_REGION
from chalicelib.errors import InputError

_PRIVATE = re.compile(
    r"(?P<registry>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)", re.ASCII
)
_PUBLIC = "public.ecr.aws"
_MAX = 1024


def read_repository(text: str) -> dict[str, str]:
    """`repository`, and `registry` and `region` where the registry's host is given. Raises InputError."""
    host, slash, rest = text.removeprefix("https://").partition("/")
    if len(text) > _MAX or not text:
        raise InputError(f"not a repository: {text[:60]!r}")
    if match := _PRIVATE.fullmatch(host):
        if not rest:
            raise InputError(f"{text}: names no repository")
        return {**match.groupdict(), "repository": rest}
    if host == _PUBLIC:
        alias, _, name = rest.partition("/")
        if not name:
            raise InputError(f"{text}: write {_PUBLIC}/ALIAS/REPOSITORY")
        return {"registry": f"public/{alias}", "region": PUBLIC_REGION, "repository": name}
    if slash and ("." in host or ":" in host or host == "localhost"):
        raise InputError(f"{host} is no registry of Amazon ECR")
    return {"repository": text}


def read_image(text: str) -> dict[str, str]:
    """The same with `digest` or `tag`; with both written, the digest counts, as for docker. Raises InputError."""
    named, at, digest = text.partition("@")
    name, colon, tag = named.rpartition(":")
    if not colon or "/" in tag:
        name, tag = named, ""
    if at:
        return {**read_repository(name), "digest": digest}
    if not tag:
        raise InputError(f"{text}: say which image: REPO:TAG or REPO@sha256:…")
    return {**read_repository(name), "tag": tag}
