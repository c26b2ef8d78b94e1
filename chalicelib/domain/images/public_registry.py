"""Our registry at ECR Public: it belongs to an account, and people pull from it by its aliases. Pure.

ECR Public sends no events, scans nothing, has no lifecycle policies and does not replicate: it is known by sweeps
alone, and what is known of its images by the same digests in private repositories.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.images.image import Repository


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
