"""Whether the pods of an object may start: the verdict of each image that it names, as it stands now.

A look-up that fails is an error, never an answer: whether pods then start is the cluster's word (`failurePolicy`).
Nothing is written, sent or announced here.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.admission.admission import AdmissionReview, AskedImage, read_image
from chalicelib.domain.admission.judgement import (
    MAX_IMAGES,
    Admission,
    AdmissionJudgement,
    admit,
    admit_too_many,
    admit_unjudged,
    named_images,
)
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.services.ports.context import Context
from chalicelib.services.waivers.revoke_expired_waivers import revoke_expired_waivers


def admit_images(review: AdmissionReview, context: Context) -> Admission:
    """Read consistently: two batches for all tags and images, and what hangs on waivers. Raises ParameterError (an
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
    return admit(review.request, _look_up(images, context), policy)


def _look_up(images: Sequence[AskedImage], context: Context) -> list[AdmissionJudgement]:
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
