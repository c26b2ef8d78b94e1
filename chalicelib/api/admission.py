"""`POST /v1/admission`: a Kubernetes API server asks whether pods may start. By a signature, or by a token.

Who cannot sign (a self-managed control plane) sends a token, of which only the hash is known here. A cluster also
tells what it runs already.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from chalice.app import Request

from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Call, context
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.domain.admission.admission import (
    AdmissionAnswer,
    AdmissionReview,
    Remembered,
    RunningImages,
    read_review,
)
from chalicelib.domain.events.message import Metric
from chalicelib.domain.images.text import sanitize
from chalicelib.errors import NotFoundError, StoredPolicyError, UnauthorizedError, UpstreamError
from chalicelib.observability import log_failure, logger
from chalicelib.services.ports.context import Meter

MAX_REVIEW_BYTES = 6 * 1024 * 1024
"""What Lambda is handed at most. A review refused for its length would be a way in where `failurePolicy` is Ignore."""
LONGEST_TOKEN = 512
FAILED = "failed"
UNNAMED = "unnamed"
"""The cluster of all who send a token: it names none, and a rotated one must not make another."""
_LOGGED_IMAGES, _LOGGED_TEXT = 20, 128
area = RouteGroup(__name__)


@area.post(
    "/v1/admission",
    AdmissionReview,
    AdmissionAnswer,
    (p.CLUSTER_, p.TIMEOUT),
    most_bytes=MAX_REVIEW_BYTES,
    read=read_review,
)
def review_admission(call: Call[AdmissionReview]) -> AdmissionAnswer:
    """Whether the pods of a Kubernetes object may start.

    Takes and answers an AdmissionReview of `admission.k8s.io/v1`. Every image of Amazon ECR that the object names must
    have the verdict ALLOW or WARN; of an update only those that it brings. Where the policy observes or exempts the
    repository, and where a person has released the image, it is admitted with a warning; so is an image that runs
    already, for `admission.running_grace_days`. Images of registries that are not watched are not judged. Where a
    look-up fails the answer is a 5xx, never `allowed`.
    """
    return _reviewed(call.body, call.query.get(p.CLUSTER_))


@area.post("/v1/admission/running", RunningImages, Remembered)
def remember_running(call: Call[RunningImages]) -> Remembered:
    """What the pods of a cluster run already.

    The forwarder sends it when it starts, at most 200 digests a request. Until 180 days later the cluster is taken to
    have admitted them, and they may go on for `admission.running_grace_days` where they are refused.
    """
    place, digests = context(), tuple(dict.fromkeys(call.body.digests))
    place.admissions.remember(call.body.cluster, digests, place.clock.now())
    return Remembered(len(digests))


def check_token(request: Request) -> None:
    """Raises UnauthorizedError; NotFoundError where no token is taken at all. It takes as long for every token."""
    hashes = context().admission_token_hashes
    if not hashes:
        raise NotFoundError("no admission token is set up here: sign, or set AdmissionTokenHashes")
    scheme, _, token = (request.headers.get("authorization") or "").partition(" ")
    bearer = scheme.lower() == "bearer" and 0 < len(token) <= LONGEST_TOKEN
    said = hashlib.sha256(token[:LONGEST_TOKEN].encode("utf-8", "surrogatepass")).hexdigest()
    known = [hmac.compare_digest(said, known) for known in hashes]
    if not (bearer and any(known)):
        raise UnauthorizedError("a bearer token is needed, one whose hash is among AdmissionTokenHashes")


@area.post(
    "/v1/admission/token",
    AdmissionReview,
    AdmissionAnswer,
    (p.TIMEOUT,),
    (401, 404),
    most_bytes=MAX_REVIEW_BYTES,
    read=read_review,
    guard=check_token,
)
def review_admission_by_token(call: Call[AdmissionReview]) -> AdmissionAnswer:
    """The same, for control planes that cannot sign.

    Asked with `Authorization: Bearer TOKEN`. 404 where no hash of a token is set up.
    """
    return _reviewed(call.body, UNNAMED)


def _reviewed(review: AdmissionReview, cluster: str | None) -> AdmissionAnswer:
    from chalicelib.services.admission.admit_images import admit_images, keep_admission

    place = context()
    try:
        admission = admit_images(review, place, cluster)
    except (StoredPolicyError, UpstreamError):
        _tell(review, FAILED, (), place.journal)
        raise
    _tell(review, admission.outcome.value, admission.digests, place.journal)
    try:
        keep_admission(admission, cluster, place)
    except UpstreamError as error:  # no reason to keep a pod out
        log_failure("admission not remembered", error, {"uid": sanitize(review.request.uid, _LOGGED_TEXT)})
    return admission.answer


def _tell(review: AdmissionReview, decision: str, digests: Sequence[str], meter: Meter) -> None:
    """Counts the review, and writes one line about it, without the object: its environment may hold anything."""
    meter.count(Metric.ADMISSIONS, by=decision)
    asked = review.request
    facts = {
        "uid": sanitize(asked.uid, _LOGGED_TEXT),
        "operation": asked.operation.value,
        "object_kind": sanitize(asked.kind.kind, _LOGGED_TEXT),
        "namespace": sanitize(asked.namespace, _LOGGED_TEXT),
        "decision": decision,
        "digests": digests[:_LOGGED_IMAGES],
        "images": len(digests),
    }
    logger.info("admission", extra=facts)
