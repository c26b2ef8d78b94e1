"""The image line: the images of one repository whose tags are of one form, ordered by push.

Semantic versions of one major version are a line; all other tags of the repository, and untagged images, are one more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind

_SEMANTIC = re.compile(r"v?(\d{1,9})\.\d+(?:\.\d+)?(?:[-+.].*)?")


def line_name(tags: Iterable[str]) -> str:
    """`v1` for the semantic versions 1.x, `*` for everything else. An image with both forms is of its semantic line."""
    majors = sorted(int(m[1]) for tag in tags if (m := _SEMANTIC.fullmatch(tag)))
    return f"v{majors[-1]}" if majors else "*"


def neighbours(header: Header, repository: Iterable[Header]) -> tuple[Header | None, Header | None]:
    """The next older and the next newer image of the header's line, by push; None where there is none."""
    if header.pushed_at is None:
        return None, None
    line, mine = line_name(header.tags), (header.pushed_at, header.ref.digest)
    elder = younger = None
    for other in repository:
        if other.kind is not Kind.IMAGE or not other.exists or other.pushed_at is None or other.ref == header.ref:
            continue
        if other.platform != header.platform or line_name(other.tags) != line:
            continue
        theirs = (other.pushed_at, other.ref.digest)
        if theirs < mine and (elder is None or theirs > _order(elder)):
            elder = other
        if theirs > mine and (younger is None or theirs < _order(younger)):
            younger = other
    return elder, younger


def _order(header: Header) -> tuple[object, str]:
    return header.pushed_at, header.ref.digest
