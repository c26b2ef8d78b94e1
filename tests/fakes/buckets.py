"""What moto's S3 does not do as AWS does: it reads a bucket's policy without the conditions in it."""

from __future__ import annotations

import pytest


def heed_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Deny of what does not come by TLS would deny everything."""
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    monkeypatch.setattr(FakeBucket, "get_permission", lambda *_: PermissionResult.NEUTRAL)
