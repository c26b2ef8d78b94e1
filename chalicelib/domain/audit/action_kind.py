"""The kinds of record the audit log holds. Pure."""

from __future__ import annotations

from chalicelib.domain.audit.retention_kind import RETENTION_KINDS
from chalicelib.domain.headers.effect import EffectKind

_ACTS = tuple(kind.value for kind in EffectKind if kind.acts)
_ORDERS = ("ORDER_QUARANTINE", "ORDER_RELEASE", "ORDER_TAKEN_BACK")
_OTHERS = ("WAIVE", "UNWAIVE", "POLICY", "FUSE_RESET", "PULL_FAILED", "REPLICATION_FAILED", "TAMPERING", "DROP_MESSAGE")

ACTION_KINDS = (
    EffectKind.ALERT.value,
    EffectKind.REPORT.value,
    *_ACTS,
    *(f"{act}_FAILED" for act in _ACTS),
    *(f"WOULD_{act}" for act in _ACTS),
    *_ORDERS,
    *_OTHERS,
    *RETENTION_KINDS,
)
"""`QUARANTINE_FAILED`: AWS refused it; `WOULD_QUARANTINE`: the policy only observes."""
