"""Tell people of images that ECR's own lifecycle policy expired although they run or were evidence."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.domain.events.lifecycle_run import Expired, TellExpired, lines_of
from chalicelib.domain.images.image import InUse, Repository
from chalicelib.domain.retention.alert import compose_lifecycle_alert
from chalicelib.services.alerts.announce_alert import announce_alert
from chalicelib.services.ports.ports import Channel, House, Subject


def tell_lifecycle_run(
    message: TellExpired, house: House, channels: Mapping[str, Channel], api_url: str | None = None
) -> None:
    """One alert a message, none where nobody is hurt. Raises TransientError: put it back with a delay."""
    uses = [_use(message.repository, one, house) for one in message.expired]
    lines = lines_of(message.expired, uses)
    if not lines:
        return
    announce_alert(compose_lifecycle_alert(message.repository, lines, house.clock.now(), api_url), house, channels)


def _use(repository: Repository, one: Expired, house: House) -> InUse:
    """By the tags it had: whoever runs a tag will miss it at the next start."""
    digests = frozenset({one.digest, *one.relatives})
    subject = Subject(repository.image(one.digest), digests, frozenset(one.tags), indexes=frozenset(one.relatives))
    return house.runtime.in_use(subject)
