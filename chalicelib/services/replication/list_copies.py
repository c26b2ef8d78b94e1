"""List what a destination has of a repository, or of one image's family. What cannot be looked at is said, not raised.

Destinations are listed before the source: what is pushed in between is then a copy on its way, and nothing that lies
at a destination alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from chalicelib.domain.images.image import ImageDetail, Repository
from chalicelib.domain.replication.replica_case import Copies
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context

PATIENT_TRIES = 6
"""Some minutes: so long a destination that does not answer is waited for, and then left out."""


def list_copies(home: Repository, context: Context, tries: int) -> Copies:
    """Of the whole repository `home` at the destination. Raises TransientError, unless it was tried often."""
    return _seen(home, lambda: context.replication.listing(home).images, tries)


def find_copies(home: Repository, digests: Iterable[str], context: Context, tries: int) -> Copies:
    """The same of these images alone."""
    return _seen(home, lambda: context.replication.describe_all(home, {*digests}), tries)


def _seen(home: Repository, look: Callable[[], Mapping[str, ImageDetail]], tries: int) -> Copies:
    """A listing that ended half-way tells nothing of what is not there."""
    try:
        return Copies(home, look())
    except AbsentError:
        return Copies(home)
    except TransientError as error:
        if tries < PATIENT_TRIES:
            raise
        return Copies(home, unread=str(error), down=True)
    except UpstreamError as error:
        return Copies(home, unread=str(error))
