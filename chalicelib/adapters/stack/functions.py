"""Lambda functions, what wakes them, and the room the account has for them.

Calls: GetFunctionConfiguration, GetFunctionConcurrency and ListEventSourceMappings for each, one GetAccountSettings.
"""

from __future__ import annotations

import msgspec

from chalicelib.adapters.aws.calls import asked, aws_call, code_of, readable
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import DeployedFunction, EventSource
from chalicelib.errors import UpstreamError
from chalicelib.parsers.wire.wire import Upper, read


class _Environment(Upper):
    variables: dict[str, str] = {}


class _Function(Upper):
    function_name: str
    function_arn: str
    role: str
    code_sha256: str = ""
    runtime: str = ""
    state: str = ""
    last_update_status: str = ""
    state_reason: str = ""
    last_update_status_reason: str = ""
    environment: _Environment = msgspec.field(default_factory=_Environment)


class _Concurrency(Upper):
    reserved_concurrent_executions: int | None = None


class _Mapping(Upper):
    state: str
    event_source_arn: str = ""
    function_response_types: list[str] = []


class _Mappings(Upper):
    event_source_mappings: list[_Mapping] = []


class _Limit(Upper):
    concurrent_executions: int
    unreserved_concurrent_executions: int


class _Account(Upper):
    account_limit: _Limit


class InstalledFunctions:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("lambda")

    def find(self, name: str) -> DeployedFunction | None:
        """None: there is no function of that name."""
        what = f"read the function {name}"
        try:
            answer = asked(what, self._client.get_function_configuration, FunctionName=name)
        except UpstreamError as error:
            if code_of(error) == "ResourceNotFoundException":
                return None
            raise
        concurrency = asked(what, self._client.get_function_concurrency, FunctionName=name)
        with readable(what):
            said = read(_Function, answer)
            reserved = read(_Concurrency, concurrency).reserved_concurrent_executions
        return DeployedFunction(
            said.function_name,
            said.function_arn,
            said.role,
            said.runtime,
            said.state,
            said.last_update_status,
            said.state_reason or said.last_update_status_reason,
            said.code_sha256,
            said.environment.variables,
            reserved,
        )

    def sources(self, name: str) -> tuple[EventSource, ...]:
        what = f"read what wakes the function {name}"
        pages = self._client.get_paginator("list_event_source_mappings").paginate(FunctionName=name)
        with aws_call(what), readable(what):
            found = [one for page in pages for one in read(_Mappings, page).event_source_mappings]
        return tuple(
            EventSource(one.event_source_arn, one.state, "ReportBatchItemFailures" in one.function_response_types)
            for one in found
        )

    def room(self) -> tuple[int, int]:
        """Executions at once that the account may have in this Region, and those that nobody has reserved."""
        what = "read the account's limits of Lambda"
        answer = asked(what, self._client.get_account_settings)
        with readable(what):
            limit = read(_Account, answer).account_limit
        return limit.concurrent_executions, limit.unreserved_concurrent_executions
