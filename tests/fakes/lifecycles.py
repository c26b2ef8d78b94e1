"""Native lifecycle policies in memory: keeps the contract of `services.ports.Lifecycles`."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.errors import UpstreamError


class FakeLifecycles:
    """`acts` is what ECR's preview says; None: it gives none. `texts` are the policies in force."""

    def __init__(self) -> None:
        self.texts: dict[Repository, str] = {}
        self.acts: dict[str, NativeAct] | None = None
        self.previewed: list[str] = []
        self.error: UpstreamError = UpstreamError("it ended FAILED")

    def read(self, repository: Repository) -> str | None:
        return self.texts.get(repository)

    def write(self, repository: Repository, text: str) -> None:
        self.texts[repository] = text

    def delete(self, repository: Repository) -> None:
        self.texts.pop(repository, None)

    def preview(self, repository: Repository, text: str) -> Mapping[str, NativeAct]:
        self.previewed.append(text)
        if self.acts is None:
            raise self.error
        return self.acts
