"""Where images run."""

from __future__ import annotations

from typing import Protocol

import msgspec

from chalicelib.domain.images.image import ImageRef, InUse


class Subject(msgspec.Struct, frozen=True):
    """What is asked about: an image by every digest (its own, its indexes', its children's) and tag it may be started
    by; `whole`: any image of the repository. `indexes`: the digests among them that are indexes, which no scanner
    knows. `attached`: signatures, SBOMs and attestations that go with it, which nothing starts and no scanner knows:
    they count where a place names them."""

    ref: ImageRef
    digests: frozenset[str]
    tags: frozenset[str]
    whole: bool = False
    indexes: frozenset[str] = frozenset()
    attached: frozenset[str] = frozenset()


class Runtime(Protocol):
    """Where images run: ECS, EKS (through Inspector), Lambda; and who else may pull them."""

    def in_use(self, subject: Subject) -> InUse:
        """Looked up now (at most a minute old). A place that cannot be looked at is in `blind` and makes it UNKNOWN;
        so it never raises for one."""

    def pull_role(self, task_arn: str) -> str | None:
        """The role by which a task pulls: its execution role, else its instance's. None: it cannot be told."""
