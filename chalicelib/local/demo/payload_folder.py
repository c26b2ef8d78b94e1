"""A folder of payload files: what each payload is, in path order. Nothing is held or delivered here.

Files are read twice, first for the API responses, then for the events, so that a folder of many events does not have to
fit into memory. A payload that no reader accepts is refused with its reason and goes nowhere, as it would end in a
dead-letter queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.domain.events.event import (
    CoverageChanged,
    Event,
    FindingChanged,
    Ignored,
    ImageAction,
    PulledThrough,
    ReferrerAction,
    Replicated,
    ScanFinished,
)
from chalicelib.domain.images.finding import ScanReport
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import InputError, RefusedPayloadError
from chalicelib.parsers.events.payload import Response, read_payloads, read_response
from chalicelib.parsers.findings.rows import CoveragePage, FindingsPage
from chalicelib.parsers.images.images import ImagesPage, RepositoriesPage

SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
_RESPONSES = (FindingsPage, ScanReport, CoveragePage, ImagesPage, RepositoriesPage)
Taken = Callable[[Response, dict[str, Any]], None]


class Refused(msgspec.Struct, frozen=True):
    """`index` counts the payloads of a file from 0; None for a file's only one."""

    file: str
    index: int | None
    path: str
    reason: str


class PayloadFolder:
    """`files` are those with a suffix of SUFFIXES or that begin as JSON does; others are `skipped`, hidden ones unseen.

    Raises InputError where there is no folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder")
        found = sorted(path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder)))
        self.folder = folder
        self.files = [path for path in found if path.suffix in SUFFIXES or _begins_as_json(path)]
        self.skipped = [self._name(path) for path in sorted(set(found) - set(self.files))]
        self.payloads = self.responses = self.ignored = 0
        self.refused: list[Refused] = []
        self.refs: dict[ImageRef, None] = {}
        self._events: dict[Path, list[int]] = {}

    @property
    def events(self) -> int:
        return sum(len(indices) for indices in self._events.values())

    def read(self, take: Taken, progress: Callable[[], None] = lambda: None) -> None:
        """Reads every file, hands each API response to `take`, and remembers where events are."""
        for path in self.files:
            payloads = self._payloads(path)
            for index, payload in enumerate(payloads):
                self.payloads += 1
                where = index if len(payloads) > 1 else None
                try:
                    self._read_one(path, index, payload, take)
                except RefusedPayloadError as error:
                    self.refused.append(Refused(self._name(path), where, error.path, error.reason))
            progress()

    def deliverable(self) -> Iterator[dict[str, Any]]:
        """The events, as they came, in path order."""
        for path, indices in self._events.items():
            wanted = set(indices)
            for index, payload in enumerate(self._payloads(path)):
                if index in wanted:
                    yield msgspec.json.decode(payload)

    def _read_one(self, path: Path, index: int, payload: bytes, take: Taken) -> None:
        response = read_response(payload)
        if isinstance(response, _RESPONSES):
            self.responses += 1
            self.ignored += getattr(response, "not_ecr", 0)
            take(response, msgspec.json.decode(payload))
        elif isinstance(response, Ignored):
            self.ignored += 1
        else:
            self._events.setdefault(path, []).append(index)
            if (ref := image_of(response)) is not None:
                self.refs[ref] = None

    def _payloads(self, path: Path) -> list[bytes]:
        try:
            return list(read_payloads(path.read_bytes()))
        except OSError as error:
            reason = f"cannot be read: {error.strerror or type(error).__name__}"
            self.refused.append(Refused(self._name(path), None, "$", reason))
            return []

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _begins_as_json(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
    except OSError:
        return False


def image_of(event: Event) -> ImageRef | None:
    """The image an event is about."""
    match event:
        case FindingChanged(row=row):
            return row.image.ref
        case CoverageChanged(coverage=coverage):
            return coverage.ref
        case ImageAction() | ReferrerAction() | ScanFinished() | Replicated() | PulledThrough():
            return event.ref
    return None
