"""Read what is so in the registry now about one image, before and after an act, and put it into the header."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.assessment.conclusion import restored
from chalicelib.domain.enforcement.repository_policy import stands
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageDetail
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.services.ports.context import Context

NO_POLICY = "no repository policy"
ABSENT = "not in the registry"
POLICY_KINDS = (ActionType.BLOCK, ActionType.UNBLOCK)


class RegistryState(msgspec.Struct, frozen=True):
    """`detail` None: the image is not there. `policy`: the repository's, only where the act is about it, and whether it
    `denies` pulls as we do. `at`: when the reading began, so that what is so then may have changed since."""

    at: datetime
    detail: ImageDetail | None
    policy: str | None = None
    about_policy: bool = False
    denies: bool = False

    @property
    def words(self) -> str:
        """As the audit log has it, exact enough to see by it whether anything has changed."""
        if self.about_policy:
            return self.policy if self.policy is not None else NO_POLICY
        if self.detail is None:
            return ABSENT
        return f"{self.detail.storage}; tags {', '.join(sorted(self.detail.tags)) or 'none'}"


def read_state(header: Header, kind: ActionType, context: Context) -> RegistryState:
    """Raises TransientError, DeniedError or UpstreamError: then nothing is known of the state."""
    at, about_policy = context.clock.now(), kind in POLICY_KINDS
    try:
        policy = context.acts.read_policy(header.ref.home) if about_policy else None
    except AbsentError:  # a repository that is gone has none: what it denied is over
        policy = None
    try:
        detail = context.registry.describe_image(header.ref)
    except AbsentError:
        detail = None
    return RegistryState(at, detail, policy, about_policy, _denies(policy, context))


def _denies(policy: str | None, context: Context) -> bool:
    """Our statement stands in no policy that cannot be read: such a one is never written."""
    try:
        return stands(policy, context.own_roles)
    except UpstreamError:
        return False


def observed(header: Header, state: RegistryState) -> Header:
    """The header with what the registry says. Whether the image exists is left to the events that tell of it."""
    detail = state.detail
    if detail is None:
        return header
    known = msgspec.structs.replace(header, storage=detail.storage, pulled_at=detail.last_pulled_at or header.pulled_at)
    return restored(known, detail.activated_at)
