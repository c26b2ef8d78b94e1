"""ECR's answers about lifecycle policies: the preview of what one would do. Source: ECR API reference."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.answer import Lower

_WORDS = {"EXPIRE": "expire", "TRANSITION": "archive"}


class PreviewAction(Lower):
    type: str | None = None


class PreviewRow(Lower):
    image_digest: str
    action: PreviewAction = msgspec.field(default_factory=PreviewAction)
    applied_rule_priority: int = 0


class PreviewPage(Lower):
    """`status`: IN_PROGRESS, COMPLETE, EXPIRED or FAILED. Rows mean something once it is COMPLETE; they are about the
    policy of `lifecycle_policy_text`."""

    status: str
    lifecycle_policy_text: str | None = None
    preview_results: tuple[PreviewRow, ...] = ()
    next_token: str | None = None

    @property
    def acts(self) -> Mapping[str, NativeAct]:
        """By digest. Raises RefusedPayloadError for an action nobody here knows: it may be worse than both."""
        return {row.image_digest: _act(row) for row in self.preview_results}


class LifecycleText(Lower):
    lifecycle_policy_text: str


def _act(row: PreviewRow) -> NativeAct:
    word = _WORDS.get(row.action.type or "")
    if word is None:
        raise RefusedPayloadError("$.previewResults", f"an action nobody here knows: {row.action.type!r:.80}")
    return msgspec.convert({"action": word, "priority": row.applied_rule_priority}, NativeAct)
