"""The kinds of audit record that retention makes. Pure."""

from __future__ import annotations

EXPIRE, ARCHIVE = "EXPIRE", "ARCHIVE"
STOPPED, FAILED = "RETENTION_STOPPED", "RETENTION_FAILED"
EXPIRED_BY_ECR = "EXPIRED_BY_ECR"
LIFECYCLE_WRITTEN = "LIFECYCLE_WRITTEN"
RETENTION_KINDS = (
    *(kind for act in (EXPIRE, ARCHIVE) for kind in (act, f"{act}_FAILED", f"WOULD_{act}")),
    STOPPED,
    FAILED,
    EXPIRED_BY_ECR,
    LIFECYCLE_WRITTEN,
)
"""`EXPIRE` is put before an image is deleted: `EXPIRE_FAILED` after it says that it was not. `EXPIRED_BY_ECR`: its own
lifecycle policy did it."""
