"""EventBridge rules with where they send to. Calls: DescribeRule and ListTargetsByRule for each."""

from __future__ import annotations

import msgspec

from chalicelib.adapters.answers import readable
from chalicelib.adapters.aws_errors import asked, code_of
from chalicelib.adapters.sessions import Sessions
from chalicelib.domain.installed import Rule, Target
from chalicelib.errors import UpstreamError
from chalicelib.parsers.answer import Upper, read


class _Dead(Upper):
    arn: str | None = None


class _Target(Upper):
    arn: str
    dead_letter_config: _Dead = msgspec.field(default_factory=_Dead)


class _Targets(Upper):
    targets: list[_Target] = []
    next_token: str | None = None


class _Rule(Upper):
    state: str


class InstalledRules:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("events")

    def find(self, name: str) -> Rule | None:
        """None: there is no rule of that name on the default bus."""
        what = f"read the rule {name}"
        try:
            answer = asked(what, self._client.describe_rule, Name=name)
        except UpstreamError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
        with readable(what):
            state = read(_Rule, answer).state
        return Rule(name, state, self._targets(name))

    def _targets(self, name: str) -> tuple[Target, ...]:
        what = f"read where the rule {name} sends to"
        found: list[Target] = []
        more: dict[str, str] = {}
        while True:
            answer = asked(what, self._client.list_targets_by_rule, Rule=name, **more)
            with readable(what):
                page = read(_Targets, answer)
            found += [Target(target.arn, target.dead_letter_config.arn) for target in page.targets]
            if not page.next_token:
                return tuple(found)
            more = {"NextToken": page.next_token}
