"""Where a moved image lies, and how its tags are kept there. Names alone; to copy and delete is an adapter's business.

Each source repository has a place of its own. Tags there are immutable and made of digest and tag, so that two images
that had one tag after another never meet, nothing lies there untagged, and each can be given its tags back.
"""

from __future__ import annotations

from chalicelib.domain.images.image import Repository

PREFIX = "lazaretto-quarantine/"
_BETWEEN = "--"


def place_of(home: Repository) -> Repository:
    """The repository, in the same registry and Region, that images of `home` are moved to."""
    return Repository(home.registry, home.region, PREFIX + home.name)


def is_place(repository: str) -> bool:
    """Whether a repository of that name holds what was moved: nothing there is decided about, nor moved again."""
    return repository.startswith(PREFIX)


def bare_mark(digest: str) -> str:
    """The tag, in the place, of an image that has no other: the first 12 hex digits of its digest."""
    return digest.partition(":")[2][:12]


def kept_tag(digest: str, tag: str) -> str:
    """`tag` as it is kept in the place: ECR takes 300 characters, a client that pushed it at most 128."""
    return f"{bare_mark(digest)}{_BETWEEN}{tag}"


def given_tags(digest: str, kept: tuple[str, ...]) -> tuple[str, ...]:
    """The tags an image had, from those it has in the place; sorted."""
    mark = bare_mark(digest) + _BETWEEN
    return tuple(sorted(tag.removeprefix(mark) for tag in kept if tag.startswith(mark)))
