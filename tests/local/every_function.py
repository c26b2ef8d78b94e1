"""Scenarios that make every function do all it can, on the local stack: its real handlers, their calls recorded."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.parse
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import msgspec
from chalice.test import Client

from chalicelib.api.answers.scope import FRESH_FOR
from chalicelib.api.routes import document
from chalicelib.context import AppContext
from chalicelib.domain.alerts.alert import Alert, AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import Act, SendAlert, TakeSnapshot
from chalicelib.domain.headers.pending_action import PendingAlert
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.local import events as aws_events
from chalicelib.local.aws.catcher import PATH
from chalicelib.local.aws.deployment import ACCOUNT, secret_name
from chalicelib.local.aws.messages import QueuePump
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.demo.demo import Demo
from chalicelib.local.demo.demo_registry import CURL, EXPAT, enhanced_finding
from chalicelib.local.inspector import inspector_of
from chalicelib.services.channels.deliver_alert import CLAIM
from tests.fakes.iam import Recorder
from tests.local.ordering import seen

ROOT = Path(__file__).parents[2]
SAMPLES_ACCOUNT = "111122223333"
ELSEWHERE = "eu-central-1"
PATIENCE_SECONDS = 60
HURRY_SECONDS = 0.05
IDLE = timedelta(seconds=5)
"""What asks again and again whether a minute is over finds it over after twelve turns."""
GOOD = (200, 201, 202)
LEAST = {"/v1/audit/verify": {"repository", "digest"}, "/v1/pull-failure": {"text"}}
"""What a route needs, where that is not what it requires and the digest."""


class Played:
    """One local stack on which every function does all it can. Each public step ends with empty queues. What it does to
    images, and people may ask for, is `every_act.py`'s business."""

    def __init__(self, stack: LocalStack, recorder: Callable[[Callable[[], None]], Recorder] = Recorder) -> None:
        self.stack, self.context, self.clock = stack, stack.context, stack.clock
        self.recorder = recorder(self.forget)
        self.asked: set[tuple[str, str]] = set()
        session = boto3.Session(region_name=REGION)
        secrets = session.client("secretsmanager")
        webhook = f"{stack.aws.url}{PATH}"
        self.cursor_secret = secrets.create_secret(Name="cursor", SecretString="signs")["ARN"]
        self.json_secret = secrets.create_secret(Name="slack", SecretString=json.dumps({"hook": webhook}))["ARN"]
        session.client("ssm").put_parameter(Name="/slack", Value=webhook, Type="SecureString")
        self.webhook_secret = secrets.describe_secret(SecretId=secret_name("webhook"))["ARN"]
        self.ecr = session.client("ecr")
        self.demo = Demo(stack)
        self.tell_by(f"{self.json_secret}#hook")
        self.context.sessions.session.events.register("before-parameter-build", self.recorder.hear)
        handlers = {name: self.recorder.under(name, handler) for name, handler in stack.app.handler_map.items()}
        app: Any = SimpleNamespace(event_sources=stack.app.event_sources, handler_map=handlers)
        self.pump = QueuePump(app, stack.aws.queues, before=stack.aws.let_time_pass)

    def tell_by(self, reference: str) -> None:
        self.recorder.slack = reference
        self.context.settings = msgspec.structs.replace(
            self.context.settings,
            channels={**self.context.settings.channels, "slack": reference, "webhook": self.webhook_secret},
            cursor_secret=self.cursor_secret,
            cursor_secrets=(),
        )

    def forget(self) -> None:
        for name, value in vars(AppContext).items():
            if isinstance(value, cached_property):
                vars(self.context).pop(name, None)

    def settle(self) -> None:
        """Until nothing is on its way any more; what is to be done later is not waited for in real time."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self.pump.waiting():
            assert time.monotonic() < end
            if not self.pump.turn():
                self.clock.move(IDLE)
                self.stack.aws.queues.skip(HURRY_SECONDS / 2)

    def run_clock(self) -> None:
        self.recorder.under("clock", self.stack.run_clock)()
        self.settle()

    def fill_the_registry(self) -> None:
        """Pushes, an index, both scanners, failures, a moved tag, news; then one sample of every trigger."""
        self.demo.open()
        self.settle()
        self.demo.go_on()
        self.settle()
        for sample in sorted((ROOT / "events").glob("*.json")):
            text = sample.read_text().replace(SAMPLES_ACCOUNT, ACCOUNT)
            self.stack.aws.put_event(json.loads(text.replace(json.loads(text)["region"], REGION)))
        self.settle()

    def change_what_is_there(self) -> None:
        """News of an image that was looked at and of one nobody ever looked at; an image is deleted."""
        image = self.image("base/python")
        unknown = ImageRef(ACCOUNT, REGION, "base/python", f"sha256:{'9' * 64}")
        now = self.clock.now()
        row = enhanced_finding(image, EXPAT, ("3.13",), now, now)
        with self.stack.aws.lock:
            inspector_of(REGION).hold(image.arn, row)
        for ref, found, at in (
            (image, row, now),
            (unknown, enhanced_finding(unknown, CURL, (), now, now), now),
            (unknown, enhanced_finding(unknown, EXPAT, (), now, now), now + timedelta(hours=1)),
        ):
            self.stack.aws.put_event(aws_events.finding_changed(ref, found, at))
            assert self.pump.turn()
        self.settle()
        old = self.image("team/web")
        self.ecr.batch_delete_image(repositoryName=old.repository, imageIds=[{"imageDigest": old.digest}])
        self.settle()

    def change_the_policy(self, what: str) -> None:
        """Every image is decided again, then people get a summary; and a snapshot is taken."""
        text = (ROOT / "chalicelib/default_policy.yaml").read_text()
        self.context.rules.put_policy(text.replace("min_decision: block", f"min_decision: {what}"), "a person")
        self.context.rules.fresh()
        self.context.outbox.send("sweeps", TakeSnapshot())
        for _ in range(2):
            self.run_clock()

    def lose_an_alert(self) -> None:
        """It was announced, and the worker of one channel died: another takes over, too early at first."""
        (stored,) = self.stack.headers([self.image("team/checkout")]).values()
        now = self.clock.now()
        lost = PendingAlert(99, now, Decision.BLOCK, None)
        self.context.table.put_header(msgspec.structs.replace(stored.header, pending=(lost,)))
        self.context.table.record_action(
            ActionRecord(
                ref=stored.header.ref,
                effect=f"{lost.key}#slack",
                wanted_at=now,
                kind=ActionKind.ALERT,
                actor="system",
                reason="to be announced to slack",
                at=now,
            )
        )
        alert = Alert(event="verdict", title="Lost", at=now, ref=stored.header.ref, decision=Decision.BLOCK, number=99)
        key = AlertKey(lost.key, now, ref=stored.header.ref)
        self.context.outbox.send("alerts", SendAlert(alert, key, "slack", attempt=1))
        self.context.outbox.send("alerts", Act(stored.header.ref, lost.key, attempt=1))
        assert self.pump.turn()
        self.clock.move(2 * CLAIM)
        self.settle()

    def let_days_pass(self) -> None:
        """What is due comes due, an alert that never was sent among it; what was known of KEV is too old."""
        (stored,) = self.stack.headers([self.image("team/checkout")]).values()
        unsent = PendingAlert(100, self.clock.now(), Decision.BLOCK, None)
        due = self.clock.now() + timedelta(hours=1)
        self.context.table.put_header(msgspec.structs.replace(stored.header, pending=(unsent,), due_at=due))
        self.clock.move(timedelta(days=2))
        self.run_clock()

    def ask_everything(self, job_id: str) -> None:
        """Each route that only answers: by what it needs, and by all that fits, when the last snapshot is old. The
        others have been asked by then. `job_id`: of a what-if."""
        self.clock.move(2 * FRESH_FOR)
        image = self.image("team/checkout")
        values = {"repository": image.repository, "digest": image.digest, "limit": "1"}
        values["text"] = f"CannotPullContainerError: {image}: not found"
        values |= {"to": ELSEWHERE, "to_registry": ACCOUNT, "cluster": "blue", "service": "web"}
        watched = (RegistryPlace(ELSEWHERE),)
        self.context.settings = msgspec.structs.replace(self.context.settings, registries=watched)
        for path, methods in document()["paths"].items():
            if "get" not in methods:
                continue
            taken = {
                p["name"]: p.get("required", False) for p in methods["get"].get("parameters", ()) if p["in"] == "query"
            }
            given = {**values, "id": job_id} if path.endswith("/what-if") else values
            needed = {name for name, required in taken.items() if required}
            least = LEAST.get(path, needed | {"digest"} & taken.keys() if needed else needed)
            for names in (least, taken.keys()):
                query = urllib.parse.urlencode({name: given[name] for name in given if name in names})
                self.ask("GET", f"{path.format(id=CURL.id)}?{query}", path=path)
        self.ask_about_pods(image)
        routes = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
        assert routes == self.asked, "routes that nobody asked"

    def ask_about_pods(self, image: ImageRef) -> None:
        """A cluster does, by a signature and by a token: of an image by tag and by digest, of ones nobody knows."""
        token = "a-token"
        hashes = (hashlib.sha256(token.encode()).hexdigest(),)
        self.context.settings = msgspec.structs.replace(self.context.settings, admission_token_hashes=hashes)
        repository = str(image).partition("@")[0]
        names = (str(image), f"{repository}:none", "public.ecr.aws/acme/none", "nginx")
        request = {
            "uid": "a-review",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "object": {"spec": {"containers": [{"name": f"c{n}", "image": name} for n, name in enumerate(names)]}},
        }
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        for url in ("/v1/admission?cluster=blue", "/v1/admission/token"):
            said = self.ask("POST", url, review, token=token)["response"]
            assert said["uid"] == "a-review"
            assert f"{image.repository}:none is unknown" in json.dumps(said)
        self.ask("POST", "/v1/admission/running", {"cluster": "blue", "digests": [image.digest]})

    def ask(self, method: str, url: str, body: Any = None, path: str = "", token: str | None = None) -> Any:
        """What the API answers. `path`: the route, where the URL alone does not tell it."""
        self.asked.add((method, path or url.partition("?")[0]))
        answer = self.recorder.under("api_handler", self._answer)(method, url, body, token)
        assert answer.status_code in GOOD, (url, answer.body)
        return answer.json_body

    def _answer(self, method: str, url: str, body: Any, token: str | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        with Client(self.stack.app) as client:
            headers |= seen(client, body) if url in ("/v1/quarantine", "/v1/release") else {}
            given: dict[str, Any] = {} if body is None else {"headers": headers, "body": json.dumps(body)}
            return client.http.request(method, url, **given)

    def image(self, repository: str) -> ImageRef:
        return next(ref for ref in self.demo.refs if ref.repository == repository)
