"""Play a folder of payloads through the local stack: API responses into its AWS, then every event through the app."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.aws.seed import Regions, Seed, refs_of
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo.payload_folder import PayloadFolder
from chalicelib.parsers.events.payload import Response

EVENTS_AT_ONCE = 1_000
PATIENCE_SECONDS = 180.0
Advance = Callable[[str, int, int], None]


class Played:
    """`refs`: every image any payload spoke of. `finished`: all queues were emptied."""

    def __init__(self, refs: list[ImageRef], finished: bool) -> None:
        self.refs, self.finished = refs, finished


def play_payloads(
    stack: LocalStack, folder: PayloadFolder, advance: Advance = lambda what, done, total: None
) -> Played:
    """`advance` hears what is done, how far and of how much.

    The scans told by API responses are handled before the first event comes, as they were in life.
    """
    seed = _seeded(stack, folder, advance)
    finished = True
    for told in (seed.scans(), seed.pushes()):
        for event in told:
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
    """Regions first: a response that names none may come before the one that does."""
    regions = Regions(stack.region)
    waiting: list[tuple[Response, dict[str, Any]]] = []
    read = 0

    def take(response: Response, raw: dict[str, Any]) -> None:
        for ref in refs_of(response):
            regions.learn(ref)
        waiting.append((response, raw))

    def file_read() -> None:
        nonlocal read
        read += 1
        advance("files", read, len(folder.files))

    folder.read(take, file_read)
    for ref in folder.refs:
        regions.learn(ref)
    seed = Seed(regions)
    with stack.aws.lock:
        for response, raw in waiting:
            seed.take(response, raw)
    return seed


def _drain(stack: LocalStack, advance: Advance) -> bool:
    most = stack.pump.waiting()

    def tell(left: int) -> None:
        nonlocal most
        most = max(most, left)
        advance("messages", most - left, most)

    return stack.pump.drain(PATIENCE_SECONDS, tell)
