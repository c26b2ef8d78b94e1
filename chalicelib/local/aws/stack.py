"""The local stack: the local AWS, what the template deploys, and the app in this process with its queues and clock.

`with LocalStack(…) as stack:` starts it and leaves nothing behind. The app is the one that Lambda runs: same
module, handlers and environment variables.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import boto3
import msgspec
from chalice.app import Chalice, ScheduledEventConfig
from chalice.config import Config
from chalice.local import ChaliceRequestHandler, LambdaContext, LocalDevServer, create_local_server

from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.domain.channels.channel import WITH_SECRET
from chalicelib.domain.images.image import ImageRef
from chalicelib.local.aws.catcher import Catcher, Caught, path_of
from chalicelib.local.aws.deployment import (
    ACCOUNT,
    STAGE,
    Template,
    app_variables,
    aws_variables,
    replaced_environment,
    secret_name,
)
from chalicelib.local.aws.messages import RUNTIME_MS, QueuePump
from chalicelib.local.aws.server import HEADERS, HOST, POLL_SECONDS, LocalAws, refusal
from chalicelib.local.events import iso
from chalicelib.observability import logger
from chalicelib.services.ports.table import Stored

REGION = "eu-west-1"
SETTLE_SECONDS = 1.0
CLOCK_SECONDS = 300.0
_READ_AT_ONCE = 100


class _LocalRequests(ChaliceRequestHandler):
    def parse_request(self) -> bool:
        """False: the request of a foreign web page was refused here, as if it were not HTTP."""
        if not super().parse_request():
            return False
        port = self.server.server_address[1]
        problem = refusal(self.command, self.headers.get("Host"), self.headers.get("Origin"), int(port))
        if problem is None:
            return True
        # The body is left unread, so the connection must close.
        self._send_http_response(problem.status, {**HEADERS, "Connection": "close"}, msgspec.json.encode(problem))
        return False

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: a line for every request would hide what the stack prints."""


class LocalStack:
    """`aws_port`, `api_port`: 0 takes a free one; without `api_port` no API is served. `hurry` and `restore_takes`: see
    `LocalAws`, whose clock is the app's too. Raises OSError for a taken port, SettingsError without the template.
    """

    def __init__(
        self,
        aws_port: int = 0,
        api_port: int | None = None,
        hurry: float | None = None,
        show: Callable[[Caught], None] = lambda caught: None,
        restore_takes: timedelta = timedelta(),
    ) -> None:
        self.region, self.template = REGION, Template(STAGE)
        self.aws = LocalAws(REGION, self.template.rules(), aws_port, hurry, restore_takes)
        self.clock, self.catcher = self.aws.clock, Catcher(ACCOUNT, REGION, show)
        self._api_port = api_port
        self._closing = ExitStack()
        self._server: LocalDevServer | None = None
        self.pump: QueuePump
        self.app: Chalice

    def __enter__(self) -> LocalStack:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def api_url(self) -> str:
        return f"http://{HOST}:{self._server.server.server_address[1]}" if self._server else ""

    @property
    def exports(self) -> dict[str, str]:
        return aws_variables(self.aws.url, self.region)

    def headers(self, refs: list[ImageRef]) -> dict[ImageRef, Stored]:
        """What is stored about these images; unknown ones are absent."""
        found: dict[ImageRef, Stored] = {}
        for start in range(0, len(refs), _READ_AT_ONCE):
            found |= self.context.table.read_headers(refs[start : start + _READ_AT_ONCE])
        return found

    def run_clock(self) -> None:
        """Runs every schedule of the app once."""
        for config in self.app.event_sources:
            if isinstance(config, ScheduledEventConfig):
                self.app.handler_map[config.name](self._tick_event(), LambdaContext(config.name, 256, RUNTIME_MS))

    def keep_working(self) -> None:
        """Pumps the queues and runs the clock in the background until the stack is closed."""
        stop = Event()
        threads = [
            Thread(target=self.pump.run, args=(stop,), name="queue-pump", daemon=True),
            Thread(target=self._tick, args=(stop,), name="clock", daemon=True),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            self._closing.callback(thread.join, 5)
        self._closing.callback(stop.set)

    def dead_letters(self) -> list[str]:
        return [body for name in self.template.dead_queues() for body in self.aws.queues.bodies(name)]

    def _start(self) -> None:
        self.aws.start()
        self._closing.callback(self.aws.stop)
        for kind in WITH_SECRET:
            self.aws.serve(path_of(kind.name), functools.partial(self.catcher.take, channel=kind.name))
        api_url = f"http://{HOST}:{self._api_port}" if self._api_port else ""
        variables = app_variables(self.template, self.aws.url, self.region, SETTLE_SECONDS, api_url)
        self._closing.enter_context(replaced_environment({**self.exports, **variables}))
        self._deploy()
        self._load_app()
        self.pump = QueuePump(self.app, self.aws.queues, before=self.aws.let_time_pass)
        if self._api_port is not None:
            self._serve_api(self._api_port)

    def _deploy(self) -> None:
        """Creates what CloudFormation would create from the template."""
        session = boto3.Session(region_name=self.region)
        create_table(session.client("dynamodb"), self.template.table)
        sqs = session.client("sqs")
        for name in self.template.dead_queues():
            sqs.create_queue(QueueName=name)
        for plan in self.template.queues():
            arn = f"arn:aws:sqs:{self.region}:{ACCOUNT}:{plan.dead}"
            redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": plan.receives})
            sqs.create_queue(QueueName=plan.name, Attributes={"RedrivePolicy": redrive})
        session.client("sns").create_topic(Name=self.template.topic)
        for kind in WITH_SECRET:
            secret = kind.local_secret.replace("{url}", f"{self.aws.url}{path_of(kind.name)}")
            session.client("secretsmanager").create_secret(Name=secret_name(kind.name), SecretString=secret)

    def _load_app(self) -> None:
        from chalicelib.context import app_context

        app_context.cache_clear()
        self._closing.callback(app_context.cache_clear)
        self._log_to_stderr()
        self.app = importlib.import_module("app").app
        self.context: Any = app_context()
        self.context.clock = self.clock

    def _log_to_stderr(self) -> None:
        """Standard output is for the summary. Without `setStream`, which flushes a stream that may be closed."""
        handler: Any = logger.registered_handler
        self._closing.callback(setattr, handler, "stream", handler.stream)
        handler.stream = sys.stderr
        # The logger may be older than this environment and keeps the level it was made with.
        self._closing.callback(logger.setLevel, logger.log_level)
        logger.setLevel(os.environ["POWERTOOLS_LOG_LEVEL"])

    def _serve_api(self, port: int) -> None:
        warnings.filterwarnings("ignore", message="IAMAuthorizer")
        config = Config.create(chalice_stage=STAGE, project_dir=str(self.template.folder))
        # Chalice turns the app into a LocalChalice, which works only once per app.
        self._closing.callback(setattr, self.app, "__class__", self.app.__class__)
        self._server = create_local_server(self.app, config, HOST, port)
        handler: Any = functools.partial(_LocalRequests, app_object=self.app, config=config)
        self._server.server.RequestHandlerClass = handler
        thread = Thread(target=self._server.server.serve_forever, args=(POLL_SECONDS,), name="api", daemon=True)
        thread.start()
        self._closing.callback(thread.join)
        self._closing.callback(self._server.server.server_close)
        self._closing.callback(self._server.shutdown)

    def _tick_event(self) -> dict[str, Any]:
        about = {"version": "0", "id": str(uuid4()), "detail-type": "Scheduled Event", "source": "aws.events"}
        where = {"account": ACCOUNT, "region": self.region, "time": iso(self.clock.now())}
        return {**about, **where, "resources": [], "detail": {}}

    def _tick(self, stop: Event) -> None:
        while not stop.wait(CLOCK_SECONDS):
            self.run_clock()
