"""Everything played once on the local stack, for all tests that look at it: what each function called, and what came of
every right that it was made to do without."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.loaders import create_loader

from chalicelib.local.aws.stack import LocalStack
from tests.fakes.iam import Call
from tests.local.every_act import play_everything
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.without_right import Refused, RightTaker

PATIENCE_SECONDS = 600
"""Copies of the process are at work beside it."""


class Recorded(msgspec.Struct, frozen=True):
    """`calls` of the functions; `dead_letters`: what was left of their messages; `refusals`: what came of each
    invocation that was tried without one right, also where it called nothing that needs it after all."""

    calls: tuple[Call, ...]
    cursor_secret: str
    dead_letters: tuple[str, ...]
    refusals: tuple[Refused, ...]


def play_once(folder: Path) -> Recorded:
    """About two minutes. `folder`: where copies of the process leave what they saw."""
    with pytest.MonkeyPatch.context() as patch, LocalStack(hurry=HURRY_SECONDS) as stack:
        patch.setattr("tests.local.every_function.PATIENCE_SECONDS", PATIENCE_SECONDS)
        # Each function begins cold, and takes a role in other accounts: boto3's sessions would read AWS's models anew
        # each time, for a third of the whole play.
        patch.setattr("botocore.session.create_loader", functools.cache(create_loader))
        scenes = Played(stack, lambda forget: RightTaker(forget, stack, folder))
        taker: Any = scenes.recorder
        scenes.context.sessions.session.events.register("before-call", taker.refuse)
        play_everything(scenes)
        dead = tuple(stack.dead_letters())
        return Recorded(tuple(sorted(taker.calls)), scenes.cursor_secret, dead, tuple(taker.results()))
