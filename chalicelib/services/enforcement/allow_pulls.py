"""Let an image's repository be pulled from again, as far as that image goes: the Deny leaves with its last digest."""

from __future__ import annotations

from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.enforcement.agree_policy import PolicyChange, agree_policy
from chalicelib.services.ports.ports import Denied, House


def allow_pulls(ref: ImageRef, house: House) -> PolicyChange:
    """The digest is struck off before the policy is touched: cut off in between, the next call goes on. A Deny that
    other images still need and somebody took out is not put back here: what takes away asks first who runs them. A
    repository that is gone denies nothing, because of no image: one of its name that is made later begins with nothing.

    Raises TransientError: call it again. Raises UpstreamError (DeniedError) where the statement cannot be taken out;
    then the digest counts as before, so that it is not taken for released.
    """
    house.table.change_denied(ref.home, lambda denied: denied.without_digest(ref.digest))
    try:
        return agree_policy(ref.home, house, adds=False)
    except TransientError:
        raise
    except UpstreamError as error:
        if isinstance(error, AbsentError) and error.what == "repository":
            house.table.change_denied(ref.home, lambda denied: Denied())
            return PolicyChange(None, None)
        house.table.change_denied(ref.home, lambda denied: denied.with_digest(ref.digest))
        raise
