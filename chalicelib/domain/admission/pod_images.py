"""Which images a Kubernetes object names, by its kind. Pure. What the images are, `admission_image.py` says.

Source: Kubernetes API reference, workload resources.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import msgspec

from chalicelib.domain.admission.admission import AdmissionRequest, Operation, decode
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
