"""The local AWS: moto with what it lacks, served on 127.0.0.1 to this process and others. No demo data, no app.

One lock serialises all requests, because moto's backends are not thread-safe. `POST /local/events` takes events as
EventBridge delivers them, one or an array. Requests that a browser sends for a foreign web page are refused (RFC 9110,
15.5.20; WHATWG Fetch, 3.2; DNS rebinding).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from datetime import timedelta
from http import HTTPStatus
from threading import RLock, Thread
from typing import Any

import msgspec
from flask import Flask, request
from moto.backends import SERVICE_NAMES
from moto.core import responses as moto_responses
from moto.core.base_backend import BackendDict
from moto.core.serialize import XFormedAttributePicker
from moto.dynamodb.models import dynamodb_backends
from moto.ec2.models import ec2_backends
from moto.ecr.models import ecr_backends
from moto.ecs.models import ecs_backends
from moto.inspector2.models import inspector2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sqs.models import sqs_backends
from werkzeug.exceptions import NotFound
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.wrappers import Request, Response

from chalicelib.api.framework.endpoint import CONTENT_TYPE, GUARDED, Problem
from chalicelib.local.aws.deployment import ACCOUNT, RulePlan
from chalicelib.local.aws.dynamo import LocalDynamo, QuickPicker
from chalicelib.local.aws.ecs import LocalEcs
from chalicelib.local.aws.messages import LocalQueues, queues_of
from chalicelib.local.aws.regions import TARGET as APP_RUNNER
from chalicelib.local.aws.regions import AppRunner, LocalEc2
from chalicelib.local.ecr.answers import ServedEcr
from chalicelib.local.ecr.ecr import LocalEcr
from chalicelib.local.ecr.lifecycle import LocalLifecycle
from chalicelib.local.ecr.public import TARGET, EcrPublic
from chalicelib.local.ecr.pull_through import LocalCache
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.local.events import Event, LocalClock
from chalicelib.local.inspector import LocalInspector

HOST = "127.0.0.1"
POLL_SECONDS = 0.05
"""How often a server looks whether it is to end: that long a stop takes at most."""
_EXTENDED: dict[Any, type] = {
    dynamodb_backends: LocalDynamo,
    ec2_backends: LocalEc2,
    ecr_backends: ServedEcr,
    ecs_backends: LocalEcs,
    inspector2_backends: LocalInspector,
}
_ORIGINALS = {backends: backends.backend for backends in _EXTENDED}
UNKNOWN, UNKNOWN_TEXT = "UnknownOperationException", "the local stack does not know this call"
FORM = "application/x-www-form-urlencoded"
Environ = dict[str, Any]
Post = Callable[[bytes], Any]
NAMES = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {"Content-Type": CONTENT_TYPE, **GUARDED}
_READS = ("GET", "HEAD", "OPTIONS")
_HTTP_PORT = 80


class _QuietHandler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open: a client makes hundreds of calls

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The `Date` of every answer is the local clock's: adapters read it as the time of a listing."""
        aws: Any = self.server.app
        return super().date_time_string(aws.clock.now().timestamp() if timestamp is None else timestamp)

    def log_request(self, *_: Any) -> None:
        """Nothing: a line for every call would hide what the demo prints."""


class _Dispatcher(DomainDispatcherApplication):
    """Caches backends: moto lists its own directory for every request."""

    def __init__(self) -> None:
        super().__init__(make_backend)
        self._known: dict[str | None, Any] = {}

    def get_backend_for_host(self, host: str | None) -> Any:
        if host not in self._known:
            self._known[host] = super().get_backend_for_host(host)
        return self._known[host]


class LocalAws:
    """One per process, because moto's state is global. `port` 0 takes a free one.

    `hurry`: the longest delay of a queue in real seconds. `clock` dates ECR and every answer; a restore from ECR's
    archive takes `restore_takes`.
    """

    def __init__(
        self,
        region: str,
        rules: list[RulePlan],
        port: int = 0,
        hurry: float | None = None,
        restore_takes: timedelta = timedelta(),
    ) -> None:
        self.region, self.lock = region, RLock()
        self.clock, self._restore_takes = LocalClock(), restore_takes
        self.public, self.app_runner = EcrPublic(ACCOUNT), AppRunner()
        self._rules = rules
        self._posts: dict[str, Post] = {"/local/events": self._take_events}
        self._moto = _Dispatcher()
        self._port, self._hurry = port, hurry
        self._server: BaseWSGIServer | None = None
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        assert self._server is not None, "not started"
        return f"http://{HOST}:{self._server.server_address[1]}"

    @property
    def queues(self) -> LocalQueues:
        return LocalQueues(sqs_backends[ACCOUNT][self.region], self.lock, self._hurry)

    def start(self) -> None:
        """Resets moto in this process. Raises OSError for a taken port."""
        # Bound here, because werkzeug exits the process when a port is taken.
        listening = socket.create_server((HOST, self._port))
        self._server = make_server(
            HOST, self._port, self, threaded=True, request_handler=_QuietHandler, fd=listening.detach()
        )
        BackendDict.reset()
        for backends, extended in _EXTENDED.items():
            backends.clear()
            backends.backend = extended
        LocalEcr.listen(self._publish, self.clock, self._restore_takes)
        LocalReplication.reset()
        LocalCache.reset()
        LocalLifecycle.due_at = None
        vars(moto_responses)["XFormedAttributePicker"] = QuickPicker
        self._thread = Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="local-aws", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        BackendDict.reset()
        vars(moto_responses)["XFormedAttributePicker"] = XFormedAttributePicker
        for backends, original in _ORIGINALS.items():
            backends.clear()
            backends.backend = original
        LocalEcr.listen(lambda event: None, LocalClock())
        LocalReplication.reset()
        LocalCache.reset()
        LocalLifecycle.due_at = None

    def let_time_pass(self) -> None:
        """Finishes restores and copies, and runs lifecycle policies, that are due by now."""
        with self.lock:
            LocalEcr.finish_restores()
            LocalReplication.arrive()
            LocalLifecycle.run()

    def _publish(self, event: Event) -> None:
        self.put_event(event)
        LocalReplication.take_up(event)

    def put_event(self, event: Event) -> list[str]:
        """Returns the queues it went to."""
        with self.lock:
            queues = queues_of(event, self._rules)
            text = msgspec.json.encode(event).decode() if queues else ""
            for queue in queues:
                self.queues.put(queue, text)
            return queues

    def serve(self, path: str, post: Post) -> None:
        """Adds a `POST /local/…` path; what `post` returns is answered as JSON."""
        self._posts[path] = post

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        assert self._server is not None, "not started"
        asked = environ["REQUEST_METHOD"], environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN")
        if (problem := refusal(*asked, int(self._server.server_address[1]))) is not None:
            return Response(msgspec.json.encode(problem), problem.status, HEADERS)(environ, start_response)
        path = environ.get("PATH_INFO", "")
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if path.startswith("/local/"):
            return self._local(Request(environ))(environ, start_response)
        if target.startswith(TARGET):
            return self._ecr_public(Request(environ), target)(environ, start_response)
        if target.startswith(APP_RUNNER):
            return self._app_runner(Request(environ), target)(environ, start_response)
        with self.lock:
            return list(self._moto(environ, start_response))

    def _local(self, request: Request) -> Response:
        post = self._posts.get(request.path)
        if post is None or request.method != "POST":
            return _json({"error": f"served here: POST {', POST '.join(sorted(self._posts))}"}, 404)
        try:
            return _json(post(request.get_data()) or {"ok": True})
        except (ValueError, RecursionError) as error:
            return _json({"error": str(error)[:500]}, 400)

    def _ecr_public(self, request: Request, target: str) -> Response:
        with self.lock:
            status, body = self.public.answer(target.removeprefix(TARGET), json.loads(request.get_data() or b"{}"))
        return Response(body, status, content_type="application/x-amz-json-1.1")

    def _app_runner(self, request: Request, target: str) -> Response:
        status, said = self.app_runner.answer(target.removeprefix(APP_RUNNER), json.loads(request.get_data() or b"{}"))
        return _json(said, status)

    def _take_events(self, body: bytes) -> dict[str, Any]:
        events = json.loads(body)
        events = events if isinstance(events, list) else [events]
        if not all(isinstance(event, dict) for event in events):
            raise ValueError("an event is a JSON object")
        delivered = [self.put_event(event) for event in events]
        return {"received": len(events), "delivered": sum(map(bool, delivered)), "unmatched": delivered.count([])}


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def make_backend(service: SERVICE_NAMES) -> Flask:
    """moto's own app of one service."""
    app = create_backend_app(service)
    app.register_error_handler(NotImplementedError, _unknown)
    app.register_error_handler(NotFound, _unknown)
    return app


def _unknown(_: Exception) -> Response:
    """In the protocol of the request: clients that send forms read XML, and retry moto's own page, a 500."""
    if request.mimetype == FORM:
        error = f"<Error><Type>Sender</Type><Code>{UNKNOWN}</Code><Message>{UNKNOWN_TEXT}</Message></Error>"
        return Response(f"<ErrorResponse>{error}</ErrorResponse>", 400, mimetype="text/xml")
    body = f'{{"__type": "{UNKNOWN}", "message": "{UNKNOWN_TEXT}"}}'
    return Response(body, 400, {"x-amzn-errortype": UNKNOWN}, mimetype="application/json")


def refusal(method: str, host: str | None, origin: str | None, port: int) -> Problem | None:
    """None: the request is served. `host`, `origin`: the headers; `port`: the server's own."""
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == _HTTP_PORT else set())
    if (host or "").lower() not in hosts:
        detail = f"Host: {_shown(host)} is not this machine: ask http://{NAMES[0]}:{port} or http://{NAMES[1]}:{port}."
        return _problem(HTTPStatus.MISDIRECTED_REQUEST, detail)
    if method in _READS or origin is None or origin.lower() in {f"http://{name}" for name in hosts}:
        return None
    return _problem(HTTPStatus.FORBIDDEN, f"Origin: {_shown(origin)} may not write here: a web page from elsewhere.")


def _problem(status: HTTPStatus, detail: str) -> Problem:
    return Problem("about:blank", status.phrase, status, detail)


def _shown(header: str | None) -> str:
    return "(none)" if not header else header[:100]
