"""AWS Lambda in one Region: functions made from images, in all their versions.

Calls: ListFunctions (50 a page); per function made from an image ListVersionsByFunction, so that the versions of the
others are not read; per version GetFunction, remembered until its code changes. A function keeps the digest its image
had when it was made or updated: a tag means nothing to it.

A version that is published is a copy of what is unpublished. So as long as that has not changed, the versions that are
known and what is unpublished are all the images there can be, and the versions are listed again only for those that
are deleted.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from cachetools import LRUCache, cached

from chalicelib.adapters.usage.asking import Asker, PlaceAnswer, Use
from chalicelib.domain.images.names import ImageName, image_name
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.parsers.usage import use_answers as use

MOST_REMEMBERED = 20_000
VERSIONS_KEPT = timedelta(hours=1)
UNPUBLISHED = "$LATEST"
_PAGED_BY = ("Marker", "NextMarker")
_GONE = frozenset({"ResourceNotFoundException"})

State = tuple[object, ...]
Versions = tuple[datetime, list[use.FunctionConfiguration]]
"""Published ones, and when they began to be listed."""


class LambdaUse:
    """Safe to share between threads as far as its clients are."""

    def __init__(self) -> None:
        images = LRUCache[State, ImageName | None](MOST_REMEMBERED)
        self._image = cached(images, lambda client, asker, version: _state(client, version), Lock())(_image)
        self._versions, self._lock = LRUCache[State, Versions](MOST_REMEMBERED), Lock()

    def look(self, client: Any, asker: Asker) -> PlaceAnswer:
        looked, functions = PlaceAnswer(), list[use.FunctionConfiguration]()
        with looked.at("AWS Lambda"):
            for page in asker.pages(client, "list_functions", "Functions", use.FunctionConfiguration, *_PAGED_BY):
                functions += [one for one in page if one.package_type != "Zip"]
        looked.join(asker.each(lambda one: self._function(client, asker, one), functions))
        return looked

    def _function(self, client: Any, asker: Asker, function: use.FunctionConfiguration) -> PlaceAnswer:
        part, who, versions = PlaceAnswer(), f"Lambda function {function.function_name}", [function]
        with part.at(who, _GONE):
            versions += self._published(client, asker, function)
        for version in versions:
            with part.at(who, _GONE):
                if (image := self._image(client, asker, version)) is not None:
                    note = "unpublished" if version.version == UNPUBLISHED else f"version {version.version}"
                    part.add(Use(image, who, None, note))
        return part

    def _published(
        self, client: Any, asker: Asker, function: use.FunctionConfiguration
    ) -> list[use.FunctionConfiguration]:
        """None of them made from an image that neither is among them nor unpublished; some may be deleted."""
        state, at, name = _state(client, function), asker.now(), function.function_name
        with self._lock:
            known = self._versions.get(state)
        if known is not None and at - known[0] < VERSIONS_KEPT:
            return known[1]
        try:
            pages = asker.pages(
                client,
                "list_versions_by_function",
                "Versions",
                use.FunctionConfiguration,
                *_PAGED_BY,
                FunctionName=name,
            )
            versions = [one for page in pages for one in page if one.version != UNPUBLISHED]
        except TransientError:
            if known is None:
                raise
            return known[1]
        with self._lock:
            self._versions[state] = at, versions
        return versions


def _state(client: Any, function: use.FunctionConfiguration) -> State:
    """Another one as soon as its code changes. Its ARN names the account."""
    where = (client.meta.region_name, function.function_arn, function.function_name)
    return (*where, function.version, function.code_sha256, function.last_modified)


def _image(client: Any, asker: Asker, function: use.FunctionConfiguration) -> ImageName | None:
    """None: it is made from no image of ECR. The tag alone would not say which one it was made from."""
    code = asker.ask(
        client, "get_function", use.FunctionAnswer, FunctionName=function.function_name, Qualifier=function.version
    ).code
    uri = code.resolved_image_uri or code.image_uri
    image = image_name(uri)
    if (image is None and function.package_type == "Image") or (image is not None and image.digest is None):
        raise UpstreamError("lambda:GetFunction: it does not say which image the function was made from")
    return image
