"""A world with one repository in memory, whose headers are known, for stories of retention."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.events.message import SendAlert
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository, TakeImages
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Child, Kind
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.services.retention.enforce_retention import enforce_retention, take_images
from tests.fakes.keeper import FakeKeeper
from tests.fakes.lifecycles import FakeLifecycles
from tests.fakes.registries import HOME, NOW
from tests.fakes.table import FakeTable
from tests.services.world import World

DECIDED = 1_000
MESSAGE = SweepRepository(Sweep.RETENTION, HOME, NOW)


class Heard:
    name = "slack"

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.fails: BaseException | None = None

    def send(self, alert: Alert) -> None:
        if self.fails is not None:
            raise self.fails
        self.alerts.append(alert)


class Retaining(World):
    """`images` lie in the repository and are known to the table; the policy enforces `said` as its one rule."""

    def __init__(self, images: Collection[RetainedImage], said: dict[str, Any], **policy: Any) -> None:
        super().__init__(FakeTable)
        self.moment = NOW
        self.keeper = FakeKeeper(HOME, images, self.now)
        self.registry = self.acts = self.replicas = self.keeper
        self.lifecycles = FakeLifecycles()
        self.heard = Heard()
        self.handed: list[Any] = []
        self.parts = 0
        self.change_policy(retention=[{"repository": "team/*", **said}], **policy)
        self.envelopes.clear()
        for image in images:
            parents = [i.digest for i in images if image.digest in (i.contains or ())]
            self.stored.headers[HOME.image(image.digest)] = known(image, parents)

    def push(self, image: RetainedImage) -> None:
        """Known to the table at once."""
        self.keeper.hold(image)
        self.stored.headers[HOME.image(image.digest)] = known(image)

    def sweep(self, message: SweepRepository = MESSAGE) -> None:
        """With all that follows from it: handed over, taken, sent on."""
        waiting: list[Any] = [message]
        self.parts = 0
        while waiting:
            one = waiting.pop()
            self.parts += 1
            handle: Any = take_images if isinstance(one, TakeImages) else enforce_retention
            handle(one, self)
            waiting += self.handed
            self.handed.clear()

    def send(self, queue: str, message: Any, delay_seconds: float = 0) -> None:
        if isinstance(message, SendAlert):
            self.heard.send(message.alert)
            return
        if not isinstance(message, TakeImages | SweepRepository):
            super().send(queue, message, delay_seconds)
            return
        assert queue == ("actions" if isinstance(message, TakeImages) else "sweeps")
        self.handed.append(msgspec.json.decode(msgspec.json.encode(message), type=type(message)))

    @property
    def left(self) -> set[str]:
        return set(self.keeper.rows)

    @property
    def changed(self) -> dict[str, str]:
        """What the last part of the run left, because it had changed."""
        found: dict[str, str] = self.stored.repositories[HOME]["retention"]["kept"]
        return found

    def records(self, kind: str) -> list[ActionRecord]:
        return [r for chain in self.stored.actions.values() for r in chain if r.kind == kind]


def known(image: RetainedImage, parents: Collection[str] = ()) -> Header:
    """As the table would know it; what is guarded is denied, the shortest way to be evidence."""
    return Header(
        ref=HOME.image(image.digest),
        version=1,
        kind=Kind.ARTIFACT if image.attached else Kind.INDEX if image.contains != () else Kind.IMAGE,
        kind_read=True,
        exists=True,
        existence_at=image.pushed_at,
        known_at=image.pushed_at,
        tags=image.tags,
        pushed_at=image.pushed_at,
        children=tuple(Child(digest) for digest in image.contains or ()),
        parents=tuple(parents),
        subject=image.subject,
        storage=image.storage,
        policy_version=DECIDED,
        waivers_version=DECIDED,
        denied=image.guard is not None,
    )


def replaced(world: Retaining, digest: str, **changes: Any) -> None:
    """What somebody does to an image behind our back."""
    world.keeper.rows[digest] = msgspec.structs.replace(world.keeper.rows[digest], **changes)
