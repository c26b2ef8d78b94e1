"""Whether the pods of an object may start: the verdict of each image that it names, as it stands now.

A look-up that fails is an error, never an answer: whether pods then start is the cluster's word (`failurePolicy`).
Nothing is announced here. What a cluster admits is remembered once it is answered: it may go on for some days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.admission.admission import AdmissionReview, AskedImage, read_image
from chalicelib.domain.admission.judgement import (
    MAX_IMAGES,
    Admission,
    AdmissionJudgement,
    AdmissionOutcome,
    admit,
    admit_too_many,
    admit_unjudged,
    named_images,
)
from chalicelib.domain.events.message import Decide
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import MOST_RELATED, ImageRef, Kind
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.policy.policy import Policy
from chalicelib.services.ports.context import Context
from chalicelib.services.waivers.revoke_expired_waivers import revoke_expired_waivers

REFUSED = "refused"


def admit_images(review: AdmissionReview, context: Context, cluster: str | None = None) -> Admission:
    """Read consistently: two batches for all tags and images, and what hangs on waivers; where an image is refused, its
    images, and whether `cluster` admitted it before (None: it is not told which one asks). Raises ParameterError (an
    object that is none of its kind), TransientError, UpstreamError, StoredPolicyError."""
    named = named_images(review.request)
    if not named.images:
        return admit_unjudged(review.request, named.unread)
    policy = context.rules.fresh().policy
    images: list[AskedImage] = []
    room = MAX_IMAGES
    for text in named.images:
        images.append(read_image(text))
        room -= not images[-1].foreign
        if room < 0:
            return admit_too_many(review.request, policy)
    judged = look_up_images(images, context)
    admission = admit(review.request, judged, policy, context.clock.now())
    if admission.outcome is AdmissionOutcome.DENIED:
        judged = _with_evidence(judged, policy, cluster, context)
        admission = admit(review.request, judged, policy, context.clock.now())
    return admission


def keep_admission(admission: Admission, cluster: str | None, context: Context) -> None:
    """What `cluster` runs from now on, and what is refused and not counted yet (a waiver has ended, a policy is on its
    way): it is decided now, and the days in which it may go on begin with that. Raises UpstreamError."""
    if cluster is not None and admission.started:
        context.admissions.remember(cluster, admission.started, context.clock.now())
    for ref in admission.uncounted:
        context.outbox.send("scans", Decide(ref, REFUSED))


def look_up_images(images: Sequence[AskedImage], context: Context) -> list[AdmissionJudgement]:
    """What is known of each, as a door must hear it. Raises TransientError, UpstreamError."""
    names = [image.name for image in images if image.name is not None]
    digests = context.queries.tagged({(name.home, name.tag) for name in names if name.digest is None and name.tag})
    refs = [image.ref(digests) for image in images]
    stored = context.table.read_headers({ref for ref in refs if ref is not None})
    headers = {ref: revoke_expired_waivers(found.header, context) for ref, found in stored.items()}
    return [_judged(image, ref, headers, context) for image, ref in zip(images, refs, strict=True)]


def _judged(
    image: AskedImage, ref: ImageRef | None, headers: dict[ImageRef, Header], context: Context
) -> AdmissionJudgement:
    header = None if ref is None else headers.get(ref)
    watched = header is not None or (not image.foreign and _is_watched(image, context))
    return AdmissionJudgement(image, header, watched, None if ref is None else ref.digest)


def _with_evidence(
    judged: Sequence[AdmissionJudgement], policy: Policy, cluster: str | None, context: Context
) -> list[AdmissionJudgement]:
    refused = [one.header for one in judged if one.header is not None and one.header.is_refused(policy)]
    names = {name for header in refused for name in (header.ref.digest, header.ref.path)}
    admitted = context.admissions.last(cluster, names) if cluster is not None and names else {}
    return [
        msgspec.structs.replace(one, admitted_at=_admitted(one.header, admitted), images=_images(one.header, context))
        if one.header in refused and one.header is not None
        else one
        for one in judged
    ]


def _admitted(header: Header, days: Mapping[str, datetime]) -> datetime | None:
    """A digest that the cluster admitted before this repository had it was another repository's: whoever may push could
    have each copy begin the grace anew."""
    known = min((at for at in (header.known_at, header.pushed_at) if at is not None), default=None)
    found = [days.get(header.ref.digest), days.get(header.ref.path)]
    if found[0] is not None and known is not None and known >= found[0] + timedelta(days=1):
        found[0] = None
    return max((day for day in found if day is not None), default=None)


def _images(header: Header, context: Context) -> tuple[Header, ...] | None:
    """Whose verdicts it takes, on every level. None: not all are known."""
    found: dict[ImageRef, Header] = {}
    below = header.members
    while below:
        stored = context.table.read_headers(below)
        if len(stored) < len(set(below)) or len(found) + len(stored) > MOST_RELATED:
            return None
        found |= {ref: one.header for ref, one in stored.items()}
        inner = [ref for one in stored.values() if one.header.kind is Kind.INDEX for ref in one.header.members]
        below = tuple(ref for ref in dict.fromkeys(inner) if ref not in found)
    return tuple(one for one in found.values() if one.kind is Kind.IMAGE)


def _is_watched(image: AskedImage, context: Context) -> bool:
    """Of a public registry only those repositories that a sweep has found are ours."""
    if image.name is not None and image.name.home.public:
        return context.queries.repository(image.name.home) is not None
    registry = image.registry
    if registry is None:
        return False
    if registry.account is None:
        return any(one.region == registry.region for one in context.registries)
    if registry in context.registries:
        return True
    return RegistryPlace(registry.region) in context.registries and registry.account == context.own_account()
