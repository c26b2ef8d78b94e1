"""Native lifecycle policies of Amazon ECR: read, written, deleted, and previewed by ECR itself.

A preview is asked for and then waited for: ECR works on one at a time for each repository. Nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from time import sleep
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import asked, code_of
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.parsers.images.lifecycle_answers import LifecycleText, PreviewPage
from chalicelib.parsers.wire.answer import read

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

NONE = "LifecyclePolicyNotFoundException"
IN_PROGRESS = "LifecyclePolicyPreviewInProgressException"
ROWS_ASKED = 100
PAUSE_SECONDS = 5.0
TRIES = 20


class EcrLifecycles:
    """`client_of` gives the ECR client of an account and a Region, `pause` waits for so many seconds. Implements
    `services.ports.registry.Lifecycles`. All methods raise TransientError, DeniedError, UpstreamError and AbsentError
    (`repository`)."""

    def __init__(self, client_of: Callable[[str, str], ECRClient], pause: Callable[[float], None] = sleep) -> None:
        self._client_of, self._pause = client_of, pause

    def read(self, repository: Repository) -> str | None:
        """Its text as ECR has it; None: the repository has none."""
        what = f"read the lifecycle policy of {repository.path}"
        try:
            answer = asked(what, self._client(repository).get_lifecycle_policy, **_named(repository))
        except UpstreamError as error:
            if code_of(error) != NONE:
                raise
            return None
        with readable(what):
            return read(LifecycleText, answer).lifecycle_policy_text

    def write(self, repository: Repository, text: str) -> None:
        what = f"write the lifecycle policy of {repository.path}"
        asked(what, self._client(repository).put_lifecycle_policy, **_named(repository), lifecyclePolicyText=text)

    def delete(self, repository: Repository) -> None:
        """One that is gone is success."""
        what = f"delete the lifecycle policy of {repository.path}"
        try:
            asked(what, self._client(repository).delete_lifecycle_policy, **_named(repository))
        except UpstreamError as error:
            if code_of(error) != NONE:
                raise

    def preview(self, repository: Repository, text: str) -> Mapping[str, NativeAct]:
        """What ECR would do by `text`, whatever policy is in force. Raises TransientError when it takes longer than
        100 seconds, or works on another preview."""
        what = f"preview a lifecycle policy of {repository.path}"
        start = self._client(repository).start_lifecycle_policy_preview
        try:
            asked(what, start, **_named(repository), lifecyclePolicyText=text)
        except UpstreamError as error:
            if code_of(error) == IN_PROGRESS:
                raise TransientError(f"{what}: ECR works on another one", PAUSE_SECONDS) from error
            raise
        for attempt in range(TRIES):
            if attempt:
                self._pause(PAUSE_SECONDS)
            first = self._page(repository, what)
            if not _is_about(first, text):
                raise TransientError(f"{what}: somebody else has another one made", PAUSE_SECONDS)
            if first.status == "COMPLETE":
                return {digest: act for page in self._pages(repository, what, first) for digest, act in page.items()}
            if first.status != "IN_PROGRESS":
                raise UpstreamError(f"{what}: it ended {first.status}")
        raise TransientError(f"{what}: ECR is still at it", PAUSE_SECONDS)

    def _pages(self, repository: Repository, what: str, page: PreviewPage) -> Iterator[Mapping[str, NativeAct]]:
        while True:
            with readable(what):
                yield page.acts
            if not page.next_token:
                return
            page = self._page(repository, what, nextToken=page.next_token)

    def _page(self, repository: Repository, what: str, **more: str) -> PreviewPage:
        call = self._client(repository).get_lifecycle_policy_preview
        answer: dict[str, Any] = asked(what, call, **_named(repository), maxResults=ROWS_ASKED, **more)
        with readable(what):
            return read(PreviewPage, answer)

    def _client(self, repository: Repository) -> ECRClient:
        return self._client_of(repository.registry, repository.region)


def _is_about(page: PreviewPage, text: str) -> bool:
    """ECR has one preview for each repository: whoever starts another one replaces it."""
    told = page.lifecycle_policy_text
    return told is None or msgspec.json.decode(told) == msgspec.json.decode(text)


def _named(repository: Repository) -> Any:
    return {"registryId": repository.registry, "repositoryName": repository.name}
