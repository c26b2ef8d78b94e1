"""`GET /v1/pull-failure`: why an image could not be pulled, in the words of the alert. What explains it is not here."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.api.answers.answering import copied
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import context, find_repository
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Parameter, Query, moment, text
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.pull_failure import PullFailureCause, named_image
from chalicelib.domain.images.names import ImageName
from chalicelib.domain.pulls.explanation import Explanation
from chalicelib.errors import ParameterError
from chalicelib.services.pulls.explain_pull_failure import explain_pull_failure, gather_evidence

MAX_TEXT = 2_000

area = RouteGroup(__name__)

TEXT = Parameter[str](
    "text",
    "What ECS (`stoppedReason`, `containers[].reason`), the kubelet or docker says, line breaks as spaces",
    *text(max_length=MAX_TEXT),
    example="CannotPullContainerError: 111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api:1.4.2: not found",
).needed()
ROLE = Parameter[str](
    "role",
    "ARN of the role by which it was pulled, where that is known",
    *text(r"arn:aws[a-z-]{0,20}:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}", "the ARN of a role", 600),
)
FAILED_AT = Parameter[datetime](
    "failed_at", "When it failed; without it: now", *moment(), example="2026-03-02T08:05:30Z"
)
_OF_AN_IMAGE = (p.REGISTRY_, p.REGION_, p.DIGEST_, p.TAG)


class PulledAnswer(msgspec.Struct, frozen=True):
    """What was asked for. `tag` and `digest` null: the text names the repository alone."""

    registry: str
    region: str
    repository: str
    tag: str | None
    digest: str | None


class PullFailureAnswer(msgspec.Struct, frozen=True):
    """`ours`: our quarantine or Deny is the cause, and `action_ids` the actions behind it. `uri`: the image by digest,
    where it is known here. UNKNOWN: nothing explains it."""

    cause: PullFailureCause
    ours: bool
    explanation: str
    notes: tuple[str, ...]
    what_to_do: tuple[str, ...]
    action_ids: tuple[str, ...]
    pulled: PulledAnswer
    uri: str | None


@area.get("/v1/pull-failure", PullFailureAnswer, (TEXT, *p.IMAGE, ROLE, FAILED_AT), (404,))
def show_pull_failure(query: Query) -> PullFailureAnswer:
    """Why an image could not be pulled, by the text of the error.

    The image is read from the text, or given by `repository` with `tag` or `digest` where the text does not name it.
    The registry is asked for it only where what is stored does not explain the failure. Nothing is recorded or sent.
    """
    place = context()
    failed = FailedPull(_pulled(query), query.need(TEXT), query.get(FAILED_AT) or place.clock.now())
    evidence = gather_evidence(failed, place, query.get(ROLE))
    return _answer(failed.pulled, explain_pull_failure(evidence, place))


def _pulled(query: Query) -> ImageName:
    """Raises ParameterError and NotFoundError."""
    named = named_image(query.need(TEXT))
    if query.get(p.REPOSITORY_) is None:
        if any(query.get(parameter) is not None for parameter in _OF_AN_IMAGE):
            raise ParameterError(p.REPOSITORY_.name, "is needed with registry, region, tag or digest")
        if named is None:
            reason = "names no image of Amazon ECR: give repository and tag or digest besides"
            raise ParameterError(TEXT.name, reason)
        return named
    home = find_repository(context().queries, query)
    if named is None or named.home != home:
        named = ImageName(home)
    return ImageName(home, query.get(p.TAG) or named.tag, query.get(p.DIGEST_) or named.digest)


def _answer(pulled: ImageName, explanation: Explanation) -> PullFailureAnswer:
    home = pulled.home
    return copied(
        PullFailureAnswer,
        explanation,
        ours=explanation.cause.ours,
        explanation=explanation.text,
        pulled=PulledAnswer(home.registry, home.region, home.name, pulled.tag, pulled.digest),
        uri=str(explanation.ref) if explanation.ref is not None else None,
    )
