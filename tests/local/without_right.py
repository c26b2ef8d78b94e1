"""What happens where a function lacks one right: the same invocation, in a world of its own, with that call refused.

Before a handler is called the process is forked. The copy sleeps until the handler here has ended and it is known what
it called; then it forks once more for each action that is to be tried, so that each begins with the world as it was.
The copy of the local AWS is served on a port of its own, and every connection to the first one is led there.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

import msgspec
from werkzeug.serving import make_server

from chalicelib.domain.events.message import Act
from chalicelib.local.aws.server import HOST, LocalAws, _QuietHandler
from chalicelib.local.aws.stack import LocalStack
from chalicelib.observability import journal, logger
from chalicelib.parsers.events.events import read_delivery
from tests.fakes.iam import Recorder, needed

MOST_COPIES = 3
"""Copies at work at a time: there are two cores, and one is the original's."""
DULL, SELDOM = 25, 6
"""After so many invocations about a kind of message that called nothing new, only every so many-th is copied."""
ONCE = ("ecs:", "eks:", "events:", "lambda:", "scheduler:", "ec2:", "iam:", "batch:")
ONCE += ("apprunner:", "codebuild:", "sagemaker:")
"""Of these each function asks for one thing, who runs an image, whatever its message: tried once a function."""
QUEUES = ("scans", "findings", "actions", "alerts", "sweeps")


class Refused(msgspec.Struct, frozen=True):
    """What came of one invocation in which every call that needs `action` was refused. `kind`: of the messages it was
    about, or the route. `refused`: calls, 0 where it was not called after all. `failed`: messages that come back.
    `raised`: the handler did. `status`, `answer`: of a request. `logged`: lines; `counted`: metrics by name; `sent`:
    messages; `alerts`: what people were told. `broken`: the test itself is."""

    function: str
    kind: str
    action: str
    refused: int = 0
    failed: int = 0
    raised: str | None = None
    status: int | None = None
    answer: str = ""
    logged: tuple[str, ...] = ()
    counted: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    broken: str | None = None


class RightTaker(Recorder):
    """A recorder that tries every action a second time without the right to it: once for each function and each kind
    of message, or route."""

    def __init__(self, forget: Callable[[], None], stack: LocalStack, folder: Path) -> None:
        super().__init__(forget)
        self._stack, self._folder = stack, folder
        self._now: set[tuple[str, str]] = set()
        self._kinds: tuple[str, ...] = ()
        self._tried: set[tuple[str, str, str]] = set()
        self._copies: list[int] = []
        self._dull: Counter[str] = Counter()
        self._lacking: str | None = None
        self._refusals = 0

    def under(self, name: str, handler: Callable[..., Any]) -> Callable[..., Any]:
        recorded = super().under(name, handler)

        def called(*arguments: Any) -> Any:
            kinds = kinds_of(arguments)
            if all(self._is_dull(f"{name} {kind}") for kind in kinds):
                return recorded(*arguments)
            tell = self._sleeping_copy(name, lambda kind: recorded(*of_kind(kind, arguments)))
            self._now, self._kinds = set(), kinds
            try:
                return recorded(*arguments)
            finally:
                new = self._not_tried(name)
                for kind, _ in new:
                    self._dull[f"{name} {kind}"] = 0
                tell(sorted(new))

        return called

    def _not_tried(self, name: str) -> set[tuple[str, str]]:
        new = set()
        for kind, action in sorted(self._now):
            tried = name, "" if action.startswith(ONCE) else kind, action
            if tried not in self._tried:
                self._tried.add(tried)
                new.add((kind, action))
        return new

    def _is_dull(self, kind: str) -> bool:
        self._dull[kind] += 1
        return self._dull[kind] > DULL and self._dull[kind] % SELDOM != 0

    def hear(self, params: dict[str, Any], model: Any, context: dict[str, Any], **more: Any) -> None:
        super().hear(params=params, model=model, context=context, **more)
        if self.function is None:
            return
        service = model.service_model.service_name
        actions = {f"{service}:{a}" for a, _, _ in needed(service, model.name, params, context["client_region"])}
        handled = journal._now.get()
        kinds = {kind_of(d.body) for d in handled.deliveries} if handled is not None else self._kinds
        self._now |= {(kind, action) for kind in kinds for action in actions}
        context["lacking"] = self._lacking if self._lacking in actions else None

    def refuse(self, context: dict[str, Any], **_: Any) -> Any:
        """As AWS does; nothing is sent. For the event `before-call`."""
        if (action := context.get("lacking")) is None:
            return None
        self._refusals += 1
        who = f"arn:aws:sts::123456789012:assumed-role/lazaretto-dev-{self.function}/lazaretto-dev-{self.function}"
        said = f"User: {who} is not authorized to perform: {action} because no identity-based policy allows it"
        error = {"Error": {"Code": "AccessDeniedException", "Message": said}}
        return Forbidden(), {**error, "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {}}}

    def results(self) -> list[Refused]:
        for copy in self._copies:
            os.waitpid(copy, 0)
        return [msgspec.json.decode(p.read_bytes(), type=Refused) for p in sorted(self._folder.glob("*.json"))]

    # ---- copies

    def _sleeping_copy(self, name: str, call: Callable[[str], Any]) -> Callable[[list[tuple[str, str]]], None]:
        read, write = os.pipe()
        with self._stack.aws.lock:
            copy = os.fork()
        if copy == 0:
            os.close(write)
            self._work_as_copy(read, name, call)
        os.close(read)

        def tell(actions: list[tuple[str, str]]) -> None:
            os.write(write, json.dumps(actions).encode())
            os.close(write)
            self._copies.append(copy)
            while len(self._copies) > (MOST_COPIES if actions else MOST_COPIES + 5):
                os.waitpid(self._copies.pop(0), 0)

        return tell

    def _work_as_copy(self, read: int, name: str, call: Callable[[str], Any]) -> NoReturn:
        text = b""
        while part := os.read(read, 65_536):
            text += part
        for kind, action in json.loads(text or b"[]"):
            if (one := os.fork()) == 0:
                self._do_without(Refused(name, kind, action), call)
            os.waitpid(one, 0)
        os._exit(0)

    def _do_without(self, asked: Refused, call: Callable[[str], Any]) -> NoReturn:
        try:
            for client in self._stack.context.sessions._clients.values():
                client._endpoint.http_session.close()  # its connections are the original's
            with world_apart(self._stack.aws):
                found = self._observed(asked, call)
        except BaseException:  # noqa: BLE001 - the copy ends here, and says so
            found = msgspec.structs.replace(asked, broken=traceback.format_exc())
        half = self._folder / f"{time.monotonic_ns()}-{os.getpid()}.half"
        half.write_bytes(msgspec.json.encode(found))
        half.rename(half.with_suffix(".json"))
        os._exit(0)

    def _observed(self, asked: Refused, call: Callable[[str], Any]) -> Refused:
        stack = self._stack
        before = {queue: len(self._bodies(queue)) for queue in QUEUES}
        slack, sns = len(stack.catcher.slack), len(stack.catcher.sns())
        log, counted = io.StringIO(), set[str]()
        handler: Any = logger.registered_handler
        handler.stream = log
        journal.count = lambda metric, *_, **__: counted.add(metric)  # type: ignore[method-assign]
        self._lacking, self._refusals = asked.action, 0
        answer, raised = None, None
        try:
            answer = call(asked.kind)
        except Exception as error:  # noqa: BLE001 - as Lambda
            raised = f"{type(error).__name__}: {error}"
        status = getattr(answer, "status_code", None)
        failures = answer.get("batchItemFailures", []) if isinstance(answer, dict) else []
        return msgspec.structs.replace(
            asked,
            refused=self._refusals,
            failed=len(failures),
            raised=raised,
            status=status,
            answer=answer.body.decode() if status is not None else "",
            logged=tuple(log.getvalue().splitlines()),
            counted=tuple(sorted(counted)),
            sent=tuple(body for queue in QUEUES for body in self._bodies(queue)[before[queue] :]),
            alerts=tuple("\n".join(c.lines) for c in (*stack.catcher.slack[slack:], *stack.catcher.sns()[sns:])),
        )

    def _bodies(self, queue: str) -> list[str]:
        return self._stack.aws.queues.bodies(f"lazaretto-dev-{queue}")


class Forbidden:
    """What botocore asks of an answer that was never sent."""

    status_code = 403


@contextlib.contextmanager
def world_apart(aws: LocalAws) -> Iterator[None]:
    """This process's copy of the local AWS, served to itself. Nothing reaches the first one's port any more."""
    assert aws._server is not None
    old = aws._server.server_address[1]
    server = make_server(HOST, 0, aws, threaded=True, request_handler=_QuietHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    connect = socket.socket.connect

    def there(self: socket.socket, address: Any) -> None:
        connect(self, (address[0], server.server_address[1]) if address[1] == old else address)

    socket.socket.connect = there  # type: ignore[method-assign]
    yield


def kinds_of(arguments: tuple[Any, ...]) -> tuple[str, ...]:
    """By what the messages are about; a request by its method and route; the clock's tick by itself."""
    if len(arguments) > 2:
        method, url, *_ = arguments
        return (f"{method} {url.partition('?')[0]}",)
    if not arguments:
        return ("tick",)
    return tuple(sorted({kind_of(read_delivery(record).body) for record in arguments[0]["Records"]}))


def of_kind(kind: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same, of a batch only the messages of one kind."""
    if len(arguments) != 2:
        return arguments
    event, context = arguments
    return {"Records": [r for r in event["Records"] if kind_of(read_delivery(r).body) == kind]}, context


def kind_of(body: Any) -> str:
    words = [type(body).__name__, getattr(body, "sweep", None)]
    if isinstance(body, Act):
        words.append(re.split("[#@/]", body.effect)[0])
    return " ".join(str(word) for word in words if word)
