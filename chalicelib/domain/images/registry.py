"""Our registry at ECR Public: it belongs to an account, and people pull from it by its aliases. Pure.

ECR Public sends no events, scans nothing, has no lifecycle policies and does not replicate: it is known by sweeps
alone, and what is known of its images by the same digests in private repositories.

The registries that are watched: an account in a Region each, our own in our own Region first. Pure.
"""

from __future__ import annotations

import re

import msgspec

from chalicelib.domain.images.image import REGION, Repository

_ACCOUNT = re.compile(r"[0-9]{12}")


class RegistryPlace(msgspec.Struct, frozen=True, order=True):
    """`account` None: our own, whose id nobody has to know."""

    region: str
    account: str | None = None

    def __str__(self) -> str:
        """As people write it: `eu-west-1` or `111122223333/eu-west-1`."""
        return self.region if self.account is None else f"{self.account}/{self.region}"

    @classmethod
    def parse(cls, text: str) -> RegistryPlace:
        """From what `str` makes. Raises ValueError."""
        account, slash, region = text.rpartition("/")
        if (slash and not _ACCOUNT.fullmatch(account)) or not REGION.fullmatch(region):
            raise ValueError(f"{text!r} is neither a Region (eu-west-1) nor 111122223333/eu-west-1")
        return cls(region, account or None)


class PublicRegistry(msgspec.Struct, frozen=True):
    """`aliases` that are in force, the primary one first: by it our references name the registry. There is one at
    least."""

    account: str
    aliases: tuple[str, ...]

    @property
    def name(self) -> str:
        """As a reference names it."""
        return f"public/{self.aliases[0]}"

    def owns(self, home: Repository) -> bool:
        """Whether it is ours, by whichever alias."""
        return home.public and home.registry.removeprefix("public/") in self.aliases
