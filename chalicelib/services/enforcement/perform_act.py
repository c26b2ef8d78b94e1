"""Make the calls of one act. Each may be made again at any point: what is so already is success."""

from __future__ import annotations

from chalicelib.domain.enforcement.enforcement import is_archived_by_us
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, PendingAct
from chalicelib.domain.images.image import StorageStatus
from chalicelib.services.enforcement.deny_pulls import allow_pulls, deny_pulls
from chalicelib.services.ports.context import Context


def perform_act(header: Header, effect: PendingAct, context: Context) -> str | None:
    """Returns what people must know besides (a policy that another party was changing), or None.

    `header.hold` is what a quarantine is to bring about. Raises TransientError, DeniedError, AbsentError and
    UpstreamError; then some of the calls may have been made.
    """
    match effect.kind:
        case ActionType.QUARANTINE:
            context.acts.archive(header.ref)
        case ActionType.RELEASE:
            storage = context.registry.describe_image(header.ref).storage if is_archived_by_us(header) else None
            if storage not in (None, StorageStatus.ACTIVE):
                context.acts.restore(header.ref)
        case ActionType.BLOCK:
            return deny_pulls(header.ref, context).collided
        case ActionType.UNBLOCK:
            return allow_pulls(header.ref, context).collided
    return None
