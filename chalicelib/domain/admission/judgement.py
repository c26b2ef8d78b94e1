"""Which images a Kubernetes object names, by its kind; whether its pods may start, and in one line why not. Pure.

Sources: Kubernetes API reference, workload resources; "Dynamic Admission Control", Response: a warning over 256
characters may be cut, all beyond 4,096 are left out, 120 are recommended. kubectl prints the message of a refusal on
one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import reduce

import msgspec

from chalicelib.domain.admission.admission import (
    AdmissionAnswer,
    AdmissionRequest,
    AdmissionResponse,
    AdmissionStatus,
    AskedImage,
    Operation,
    decode,
)
from chalicelib.domain.enforcement.enforcement import is_released
from chalicelib.domain.headers.header import Door, Header
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.domain.images.text import cut, sanitize, some_of
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.errors import ParameterError


class _Image(msgspec.Struct, frozen=True):
    reference: str | None = None


class _Volume(msgspec.Struct, frozen=True):
    name: str | None = None
    image: _Image | None = None


class _Container(msgspec.Struct, frozen=True):
    name: str | None = None
    image: str | None = None


class _Node(msgspec.Struct, frozen=True, rename="camel"):
    """A workload, or a part of it on the way to the specification of its pods, or that."""

    spec: _Node | None = None
    template: _Node | None = None
    job_template: _Node | None = None
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    ephemeral_containers: tuple[_Container, ...] | None = None
    volumes: tuple[_Volume, ...] | None = None


_OF_TEMPLATE = ("spec", "template", "spec")
_POD_SPECS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): ("spec",),
    ("", "PodTemplate"): ("template", "spec"),
    ("", "ReplicationController"): _OF_TEMPLATE,
    ("apps", "DaemonSet"): _OF_TEMPLATE,
    ("apps", "Deployment"): _OF_TEMPLATE,
    ("apps", "ReplicaSet"): _OF_TEMPLATE,
    ("apps", "StatefulSet"): _OF_TEMPLATE,
    ("batch", "CronJob"): ("spec", "job_template", *_OF_TEMPLATE),
    ("batch", "Job"): _OF_TEMPLATE,
}
"""Where the specification of its pods lies in an object of a kind, whatever its version."""


class Named(msgspec.Struct, frozen=True):
    """The `images` that an object names and that are to be judged, as it names them, each once. `unread`: it is of a
    kind whose images are not known here."""

    images: tuple[str, ...] = ()
    unread: bool = False


def named_images(request: AdmissionRequest) -> Named:
    """Of containers, init and ephemeral containers and image volumes. An update is asked about what it brings: what
    stood under the same name before runs already, and is not stopped from being labelled or scaled. Raises
    ParameterError."""
    if request.operation not in (Operation.CREATE, Operation.UPDATE):
        return Named()
    way = _POD_SPECS.get((request.kind.group, request.kind.kind))
    if way is None:
        return Named(unread=True)
    wanted = decode(request.object, _Node | None, "request.object")
    if wanted is None:
        raise ParameterError("request.object", "must be given")
    before = decode(request.old_object, _Node | None, "request.oldObject")
    stood = set(_images_at(before, way)) if request.operation is Operation.UPDATE else set()
    return Named(tuple(dict.fromkeys(image for name, image in _images_at(wanted, way) if (name, image) not in stood)))


def _images_at(node: _Node | None, way: tuple[str, ...]) -> Iterator[tuple[tuple[str, str | None], str]]:
    """Each with the name it stands under; containers of all sorts share their names, volumes have their own."""
    spec = reduce(lambda at, step: None if at is None else getattr(at, step), way, node)
    if spec is None:
        return
    for containers in (spec.containers, spec.init_containers, spec.ephemeral_containers):
        for container in containers or ():
            if container.image:
                yield ("container", container.name), container.image
    for volume in spec.volumes or ():
        if volume.image is not None and volume.image.reference:
            yield ("volume", volume.name), volume.image.reference


MAX_IMAGES = 100
"""Of Amazon ECR in one object, each counted once. The API server waits for ten seconds by default."""
LONGEST_WARNING, MAX_WARNINGS = 120, 20
_LONGEST_REASON, _LONGEST_SENTENCE, _SENTENCES = 120, 420, 3
_OPEN = (Decision.ALLOW, Decision.WARN)
_FORBIDDEN = 403


ADMITTED_FOR = timedelta(days=180)
"""How long a cluster's admission of a digest proves that it runs there."""


class AdmissionOutcome(StrEnum):
    """OBSERVED: let in although the verdict says no, because nothing is to be done about it here. GRACE: because it
    runs already."""

    ALLOWED = "allowed"
    DENIED = "denied"
    OBSERVED = "observed"
    GRACE = "grace"


class AdmissionJudgement(msgspec.Struct, frozen=True):
    """One image that was looked up. `header` None: it is not known here. `watched`: it would be known, if it
    were there. `digest`: what its name means now, as far as is known. `admitted_at`: when this cluster admitted it
    last. `images` of an index, those of its indexes included; None: not known, or not all."""

    asked: AskedImage
    header: Header | None = None
    watched: bool = True
    digest: str | None = None
    admitted_at: datetime | None = None
    images: tuple[Header, ...] | None = None


class Admission(msgspec.Struct, frozen=True):
    """`digests`: of the images that were judged. `started`: those that its Pod runs from now on, by digest, and by path
    where only the grace lets them in: it is no proof for a copy elsewhere. `uncounted`: images that are refused, and
    whose refusal no header counts yet. A dry run leaves both empty."""

    answer: AdmissionAnswer
    outcome: AdmissionOutcome
    digests: tuple[str, ...] = ()
    started: tuple[str, ...] = ()
    uncounted: tuple[ImageRef, ...] = ()


class ImageAdmission(msgspec.Struct, frozen=True):
    """Whether a cluster's door would let one image in; `text`: what it would say, empty where it says nothing."""

    outcome: AdmissionOutcome
    text: str = ""


class _Said(msgspec.Struct, frozen=True):
    """Of one image: `no` is what keeps it out, `but` why it is let in all the same, `until` when, `remedy` what to do,
    `warning` what else is to be told."""

    no: str | None = None
    but: str | None = None
    warning: str | None = None
    remedy: str = ""
    until: datetime | None = None

    @property
    def excused(self) -> str:
        if self.until is None:
            return f"would be denied ({self.but}): {self.no}"
        return f"denied from {self.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC ({self.but}): {self.no}"


def admit(request: AdmissionRequest, judged: Sequence[AdmissionJudgement], policy: Policy, now: datetime) -> Admission:
    said = [_said(one, policy, now) for one in judged]
    warnings = [one.warning for one in said if one.warning]
    admission = _admission(request, said, warnings, tuple(one.digest for one in judged if one.digest))
    if request.dry_run:
        return admission
    known = [(one.header, it.until) for one, it in zip(judged, said, strict=True) if one.header is not None]
    starts = request.kind.kind == "Pod" and admission.answer.response.allowed
    started = (header.ref.path if until else header.ref.digest for header, until in known if starts)
    return msgspec.structs.replace(
        admission,
        started=tuple(dict.fromkeys(started)),
        uncounted=tuple(header.ref for header, _ in known if _is_uncounted(header, policy, now)),
    )


def admit_image(judged: AdmissionJudgement, policy: Policy, now: datetime) -> ImageAdmission:
    """The same of one image alone, for who asks before there is a pod."""
    said = _said(judged, policy, now)
    text = said.excused if said.no and said.but else said.no or said.warning or ""
    return ImageAdmission(_outcome([said]), text)


def _is_uncounted(header: Header, policy: Policy, now: datetime) -> bool:
    if header.verdict is None or not header.present or not header.is_refused(policy):
        return False
    return header.door is None or not header.door.goes_on(now)


def admit_unjudged(request: AdmissionRequest, unread: bool) -> Admission:
    """An object that brings no image. `unread`: as far as is known, as it is of a kind that is not known here."""
    kind = sanitize(request.kind.kind, _LONGEST_REASON // 2)
    warning = f"Lazaretto does not know where {kind} names images: its pods are judged when they are made"
    return _admission(request, [], [warning] if unread else [], ())


def admit_too_many(request: AdmissionRequest, policy: Policy) -> Admission:
    """Padding a pod with images is no way in."""
    no = f"more than {MAX_IMAGES} images of Amazon ECR in one object: not judged"
    return _admission(request, [_Said(no, None if policy.enforcing else _OBSERVES)], [], ())


_OBSERVES = "policy observes"


def _admission(
    request: AdmissionRequest, said: Sequence[_Said], warnings: list[str], digests: tuple[str, ...]
) -> Admission:
    excused = [one for one in said if one.no and one.but]
    refused = [one for one in said if one.no and not one.but]
    outcome = _outcome(said)
    response = AdmissionResponse(
        uid=request.uid,
        allowed=not refused,
        status=AdmissionStatus(_FORBIDDEN, _message(refused)) if refused else msgspec.UNSET,
        warnings=_bounded([*(one.excused for one in excused), *warnings]),
    )
    return Admission(AdmissionAnswer(response), outcome, digests)


def _outcome(said: Sequence[_Said]) -> AdmissionOutcome:
    excused = [one for one in said if one.no and one.but]
    if any(one.no and not one.but for one in said):
        return AdmissionOutcome.DENIED
    if any(one.until is not None for one in excused):
        return AdmissionOutcome.GRACE
    return AdmissionOutcome.OBSERVED if excused else AdmissionOutcome.ALLOWED


def _message(refused: Sequence[_Said]) -> str:
    return " | ".join(some_of([cut(f"{one.no}{one.remedy}", _LONGEST_SENTENCE) for one in refused], _SENTENCES))


def _bounded(warnings: Sequence[str]) -> tuple[str, ...]:
    shown = [cut(warning, LONGEST_WARNING) for warning in warnings[:MAX_WARNINGS]]
    more = len(warnings) - len(shown)
    return (*shown, *([f"and {more} more warnings of Lazaretto"] if more else []))


_IMAGE_ID = re.compile(r"sha(?:256|384|512):[0-9a-f]+")
"""containerd starts the image of that ID from the node's cache, whichever registry it came from."""


def _said(judged: AdmissionJudgement, policy: Policy, now: datetime) -> _Said:
    asked, header, but = judged.asked, judged.header, _excuse(judged, policy)
    if _IMAGE_ID.fullmatch(asked.text):
        return _Said(f"{asked.shown} is the ID of an image on a node, and names no registry", but)
    if asked.foreign or (header is None and not judged.watched):
        return _Said(warning=f"{sanitize(asked.text, 60)} is of no registry that Lazaretto watches: not judged")
    if asked.name is None:
        if asked.registry is not None and asked.registry.account is None:
            return _Said(f"{asked.shown} names a VPC endpoint, and no account", but)
        return _Said(f"{asked.shown} is no name of an image in Amazon ECR", but)
    if header is None:
        remedy = f"; if it is in ECR: lazaretto reconcile --repository {asked.name.home.name}"
        return _Said(f"{asked.shown} is unknown: it was never judged", but, remedy=remedy)
    if not header.exists:
        gone = "is of a registry that is retired" if header.is_retired else "was deleted from ECR, as far as is known"
        return _Said(f"{asked.shown} {gone}", but)
    what = f"{asked.shown} is {header.decision}: {_why(header)}"
    if header.decision is Decision.ALLOW:
        return _Said()
    if header.decision in _OPEN:
        return _Said(warning=what)
    until = None if but is not None else grace_ends(judged, policy, now)
    return _Said(what, but if until is None else _RUNS, remedy=f"; see: lazaretto image {asked.uri}", until=until)


def _excuse(judged: AdmissionJudgement, policy: Policy) -> str | None:
    """Why nothing is done about it: to keep a pod from starting is an act as much as a quarantine is. What a person has
    quarantined is kept out in every mode, and what waits for the brake of releases also where it is exempt by now."""
    if judged.header is not None and (judged.header.ordered or judged.header.braked):
        return None
    if not policy.enforcing:
        return _OBSERVES
    name, header = judged.asked.name, judged.header
    if name is not None and policy.exempts(name.home.name):
        return "exempt"
    released = header is not None and header.exists and (is_released(header) or header.is_released_at_origin)
    return "released by a person" if released else None


_RUNS = "it runs already"


def grace_ends(judged: AdmissionJudgement, policy: Policy, now: datetime) -> datetime | None:
    """Until when it is let in because it runs already; None: it is not. It runs where its last answered look said so,
    or where this cluster admitted it. What a person has quarantined, what was taken away, and what no scan has
    completed for is let in by nothing, nor is an index with such an image."""
    header = judged.header
    if header is None or not _may_go_on(header):
        return None
    worse = [one for one in judged.images or () if one.is_refused(policy) or _is_kept_away(one)]
    if header.kind is Kind.INDEX and (judged.images is None or not all(map(_may_go_on, worse))):
        return None
    door = header.door if header.door is not None and header.door.goes_on(now) else Door(refused_at=now)
    assert door.refused_at is not None
    ends = door.refused_at + policy.running_grace([reason for one in (header, *worse) for reason in one.reasons])
    admitted = judged.admitted_at is not None and now - judged.admitted_at <= ADMITTED_FOR
    # Who may push can make a new index of an image that runs: each of its images that is refused must run.
    runs = admitted or all(one.door is not None and one.door.is_running(now) for one in (header, *worse))
    return ends if runs and now < ends else None


def _is_kept_away(header: Header) -> bool:
    """By a person, the brake of releases or an act, whatever its verdict is by now."""
    return header.ordered is not None or header.braked is not None or header.taken_away


def _may_go_on(header: Header) -> bool:
    if not header.exists or _is_kept_away(header) or header.kind is Kind.ARTIFACT:
        return False
    door = header.door or Door(scanned=header.was_scanned)
    return door.has_grace(header.decision)


def _why(header: Header) -> str:
    """The first of the strongest reasons: the rule, and what it found, worst first."""
    if not header.reasons and header.verdict is None:
        return "it is no image, and nothing scans it" if header.kind is Kind.ARTIFACT else "it is not judged yet"
    strongest = next((r for r in header.reasons if r.decision is header.decision), None)
    if strongest is None:
        return "no reason is stored"
    found = strongest.detail
    if strongest.vulnerability_ids:
        more = f" and {strongest.count - 1} more" if strongest.count > 1 else ""
        found = f"{strongest.vulnerability_ids[0]}{more}"
    return sanitize(f"{strongest.rule} ({found})" if found else strongest.rule, _LONGEST_REASON)
