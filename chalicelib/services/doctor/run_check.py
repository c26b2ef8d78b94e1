"""Make one check: whatever keeps it from being made is its result, so that one that fails stops no other."""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.domain.doctor.health import Check, CheckResult, check_of, unknown
from chalicelib.errors import DeniedError, LazarettoError, TransientError

NO_RIGHT = "run it as somebody who may make this call; nothing is known of it until then"
AGAIN = "run it again"


def run_check(kind: str, look: Callable[[], CheckResult]) -> Check:
    """UNKNOWN with the reason where `look` raises one of our errors."""
    try:
        return check_of(kind, look())
    except LazarettoError as error:
        advice = NO_RIGHT if isinstance(error, DeniedError) else AGAIN if isinstance(error, TransientError) else ""
        return check_of(kind, unknown(f"not seen: {error}", advice))
