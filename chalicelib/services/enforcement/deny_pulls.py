"""Deny all pulls from an image's repository because of that image: its digest joins those that keep the Deny there."""

from __future__ import annotations

import msgspec

from chalicelib.domain.enforcement.repository_policy import has_statement, with_statement
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.enforcement.agree_policy import PolicyChange, agree_policy
from chalicelib.services.ports.ports import Denied, House


def deny_pulls(ref: ImageRef, house: House) -> PolicyChange:
    """The digest is written down before the policy is touched: cut off in between, the next call goes on.

    Raises TransientError: call it again. Raises UpstreamError (DeniedError, AbsentError) where the statement cannot be
    put; then the digest is not counted either, so that nothing waits for its release.
    """
    text = house.acts.read_policy(ref.home)
    in_force = False
    try:
        in_force = has_statement(text)
        with_statement(text, house.own_roles)  # what must not be touched, or grows too long, fails before all else
        house.table.change_denied(ref.home, lambda denied: _added(denied, ref.digest, text, in_force))
        return agree_policy(ref.home, house, adds=True)
    except TransientError:
        raise
    except UpstreamError:
        if not in_force:
            house.table.change_denied(ref.home, lambda denied: denied.without_digest(ref.digest))
        raise


def _added(denied: Denied, digest: str, text: str | None, in_force: bool) -> Denied:
    """What the policy was without our statement is remembered when it was last read so."""
    if digest in denied.digests:
        return denied
    known = denied if in_force else msgspec.structs.replace(denied, former=text)
    return known.with_digest(digest)
