"""An operation of a stack watched to its end: a network that is away, and a door that is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.cli.deploy import deploy_context
from chalicelib.cli.deploy.deploy_context import PATIENCE, follow
from chalicelib.domain.doctor.stack import StackEvent, ended
from chalicelib.errors import DeniedError, TransientError, UpstreamError

BEGUN = StackEvent("1", "lazaretto-dev", "AWS::CloudFormation::Stack", "UPDATE_IN_PROGRESS", of_stack=True)
AT_WORK = StackEvent("2", "OnScans\x1b[2J", "AWS::Lambda::Function", "UPDATE_IN_PROGRESS")
DONE = StackEvent("3", "OnScans\x1b[2J", "AWS::Lambda::Function", "UPDATE_COMPLETE")
END = StackEvent("4", "lazaretto-dev", "AWS::CloudFormation::Stack", "UPDATE_COMPLETE", of_stack=True)


@pytest.fixture(autouse=True)
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(deploy_context.time, "sleep", taken.append)
    return taken


class Played:
    """Answers in turn; an error is raised."""

    def __init__(self, *answers: list[StackEvent] | Exception) -> None:
        self.answers, self.asked = list(answers), list[str | None]()

    def events(self, stack: str, after: str | None = None) -> list[StackEvent]:
        self.asked.append(after)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def watch(played: Any) -> str | None:
    return ended(follow(played, "arn:stack", "0", "eu-west-1"))


def test_it_is_watched_from_what_was_last_known(capsys: pytest.CaptureFixture[str], naps: list[float]) -> None:
    played = Played([BEGUN], [], [AT_WORK, DONE], [END])
    assert watch(played) == "UPDATE_COMPLETE"
    assert played.asked == ["0", "1", "1", "3"]
    assert len(naps) == 1, "what comes is shown at once"
    said = capsys.readouterr().err
    assert said.count("OnScans") == 1
    assert "\x1b" not in said


def test_a_network_that_is_away_ends_nothing() -> None:
    assert watch(Played([BEGUN], *[TransientError("lost")] * PATIENCE, [END])) == "UPDATE_COMPLETE"


@pytest.mark.parametrize(
    "error", [lambda: [TransientError("lost")] * (PATIENCE + 1), lambda: [DeniedError("token expired")]]
)
def test_no_longer_let_in_it_says_that_the_stack_goes_on(
    error: Callable[[], list[Exception]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UpstreamError, match=r"no longer watched: (lost|token expired)"):
        watch(Played([BEGUN], *error()))
    assert "describe-stack-events --region eu-west-1 --stack-name arn:stack" in capsys.readouterr().err
