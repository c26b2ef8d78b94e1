"""What keeps an image whatever the rules of retention say."""

from __future__ import annotations

from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Stage
from chalicelib.domain.retention.image import QUARANTINED, guard_of
from tests.fakes.registries import HOME, NOW, digest


def test_an_image_with_an_act_under_way_stays() -> None:
    begun = Enforcement(ActionType.BLOCK, 1, Stage.BEGUN, NOW)
    guard = guard_of(Header(ref=HOME.image(digest(1)), enforcement=begun), Rules(default_policy(), (), 0, 0), NOW)
    assert guard is not None
    assert guard.by == QUARANTINED
