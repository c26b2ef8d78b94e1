"""A folder of payload files, played through the local stack: API responses into its AWS, then events through the app.

Files are read in path order and twice, first for the responses, then for the events: a folder of many events does not
fit into memory. A payload that no parser accepts is reported with its reason and not delivered; deployed, it would end
in a dead-letter queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from chalicelib.domain.events.event import CoverageChanged, Event, FindingChanged, Ignored
from chalicelib.domain.images.finding import ScanReport
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import InputError, RefusedPayloadError
from chalicelib.local.aws.seed import Regions, Seed, refs_of
from chalicelib.local.aws.stack import LocalStack
from chalicelib.parsers.events.payload import Response, read_payloads, read_response
from chalicelib.parsers.findings.coverage import CoveragePage
from chalicelib.parsers.findings.rows import FindingsPage
from chalicelib.parsers.images.images import ImagesPage, RepositoriesPage

SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
_RESPONSES = (FindingsPage, ScanReport, CoveragePage, ImagesPage, RepositoriesPage)
Taken = tuple[Response, dict[str, Any]]
EVENTS_AT_ONCE = 1_000
PATIENCE_SECONDS = 180.0
Advance = Callable[[str, int, int], None]


class Refused(msgspec.Struct, frozen=True):
    """`index` counts the payloads of a file from 0; None: it has only one."""

    file: str
    index: int | None
    path: str
    reason: str


class PayloadFolder:
    """`files` have a suffix of SUFFIXES or begin like JSON; other files are `skipped`, hidden ones ignored.

    Raises InputError for a missing folder.
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

    def read(self) -> Iterator[list[Taken]]:
        """The API responses of each file; notes where events are."""
        for path in self.files:
            payloads, responses = self._payloads(path), list[Taken]()
            for index, payload in enumerate(payloads):
                self.payloads += 1
                where = index if len(payloads) > 1 else None
                try:
                    responses += self._read_one(path, index, payload)
                except RefusedPayloadError as error:
                    self.refused.append(Refused(self._name(path), where, error.path, error.reason))
            yield responses

    def deliverable(self) -> Iterator[dict[str, Any]]:
        """The events in path order."""
        for path, indices in self._events.items():
            of_events = set(indices)
            for index, payload in enumerate(self._payloads(path)):
                if index in of_events:
                    yield msgspec.json.decode(payload)

    def _read_one(self, path: Path, index: int, payload: bytes) -> Iterator[Taken]:
        response = read_response(payload)
        if isinstance(response, _RESPONSES):
            self.responses += 1
            self.ignored += getattr(response, "not_ecr", 0)
            yield response, msgspec.json.decode(payload)
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
    return getattr(event, "ref", None)


class Played(NamedTuple):
    """`refs`: every image of any payload. `finished`: all queues were emptied."""

    refs: list[ImageRef]
    finished: bool


def play_payloads(
    stack: LocalStack, folder: PayloadFolder, advance: Advance = lambda what, done, total: None
) -> Played:
    """Handles the scans of API responses before the first event. Calls `advance` with what is counted, how many are
    done, and of how many."""
    seed = _seeded(stack, folder, advance)
    finished = True
    for events_of_seed in (seed.scans(), seed.pushes()):
        for event in events_of_seed:
            stack.aws.put_event(event)
        finished = _drain(stack, advance) and finished
    events, total, done = folder.deliverable(), folder.events, 0
    while chunk := list(islice(events, EVENTS_AT_ONCE)):
        for event in chunk:
            stack.aws.put_event(event)
        while stack.pump.turn():
            pass
        done += len(chunk)
        advance("events", done, total)
    finished = _drain(stack, advance) and finished
    return Played(list({**seed.images, **folder.refs}), finished)


def _seeded(stack: LocalStack, folder: PayloadFolder, advance: Advance) -> Seed:
    """Learns all Regions first: a response without one may come before one that names it."""
    regions, waiting = Regions(stack.region), list[Taken]()
    for count, responses in enumerate(folder.read(), 1):
        waiting += responses
        advance("files", count, len(folder.files))
    for ref in (*(ref for response, _ in waiting for ref in refs_of(response)), *folder.refs):
        regions.learn(ref)
    seed = Seed(regions)
    with stack.aws.lock:
        for response, raw in waiting:
            seed.take(response, raw)
    return seed


def _drain(stack: LocalStack, advance: Advance) -> bool:
    most = stack.pump.waiting()

    def show(left: int) -> None:
        nonlocal most
        most = max(most, left)
        advance("messages", most - left, most)

    return stack.pump.drain(PATIENCE_SECONDS, show)
