"""A run full of recognisable secrets leaves none of them anywhere: in no log, nor what else is printed, alert, answer,
item, message, dead letter as people see it, or command.

They are put wherever one can come from: the Slack webhook in both stores, the secret of cursors, the function's own
credentials, URLs that ECR signs, what AWS repeats of a call in its errors, and what others write into events.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from functools import partial
from typing import Any

import boto3
import pytest
from moto.dynamodb.models import dynamodb_backends
from typer.testing import CliRunner

from chalicelib.adapters.stack.dead_letters import DeadQueue
from chalicelib.cli import app as commands
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import LazarettoError
from chalicelib.local.aws import stack
from chalicelib.local.aws.deployment import ACCOUNT, aws_variables
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.observability import logger
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_act import POLICY
from tests.local.every_function import HURRY_SECONDS, ROOT, SAMPLES_ACCOUNT, Played
from tests.local.push_image import Pusher
from tests.local.running import local_stack

MARK = "Hu5hHu5h"
"""In every secret, and in nothing else."""
WEBHOOK = f"/local/{MARK}-webhook"
SESSION_TOKEN = f"{MARK}SessionToken" + "IQoJb3JpZ2luX2VjE" * 20
CREDENTIALS = {"AWS_SECRET_ACCESS_KEY": f"{MARK}SecretAccessKey", "AWS_SESSION_TOKEN": SESSION_TOKEN}
SIGNED = f"X-Amz-Signature={MARK}signature&X-Amz-Security-Token={MARK}token"
BEARER = f"Authorization: Bearer {MARK}bearer"
CANONICAL = (
    f"The request signature does not match.\n\nThe Canonical String is\n'POST\nx-amz-security-token:{SESSION_TOKEN}'"
)
SAID = (
    ("InvalidSignatureException", 403, CANONICAL),
    ("ValidationException", 400, f"Authorization=AWS4-HMAC-SHA256 Credential={MARK}/20260301, Signature={MARK}0"),
    ("InternalServerException", 500, f"could not reach https://layers.example.org/sha256:0?{SIGNED}"),
    ("AccessDeniedException", 403, f"token: {MARK}bearer is not authorized"),
    ("KmsException", 400, f"https://user:{MARK}password@example.org/ refused"),
    ("ThrottlingException", 400, f"webhook https://hooks.slack.com/services/T0/B0/{MARK} was throttled"),
)
UNREADABLE = (
    f'{{"password": "{MARK}"',
    json.dumps({"detail-type": "ECR Image Action", "detail": {"authorizationToken": f"{MARK}registry"}}),
    json.dumps([BEARER]),
    json.dumps({"type": f"https://hooks.slack.com/services/T0/B0/{MARK}", "url": f"https://example.org/?{SIGNED}"}),
)
"""Messages that end in a dead-letter queue."""
FAILING = (2, 4, 7, 11, 16, 22)
"""Which calls of an operation fail, each with another of these."""
HEARD = "printed, and heard"
IDLE = timedelta(seconds=30)
MOST_TURNS = 5_000
PLACES = {"log", "printed", "alerts", "answers", "items", "messages", "letters", "commands"}


class Poison:
    """Some calls of each operation are answered by an error that repeats what it should not."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.failed = 0

    def answer(self, model: Any, **_: Any) -> Any:
        self.calls[model.name] = self.calls.get(model.name, 0) + 1
        if self.calls[model.name] not in FAILING:
            return None
        code, status, message = SAID[FAILING.index(self.calls[model.name])]
        self.failed += 1
        error = {"Error": {"Code": code, "Message": message}}
        return Answered(status), {**error, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}}}


class Answered:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


class World:
    """The local stack, and by place whatever was told there."""

    def __init__(self, local: LocalStack) -> None:
        self.local, self.poison, self.told = local, Poison(), dict[str, list[str]]()
        local.aws.serve(WEBHOOK, local.catcher.take)
        self.scenes = Played(local)
        session = boto3.Session(region_name=REGION)
        url, secrets = f"{local.aws.url}{WEBHOOK}", session.client("secretsmanager")
        slack = secrets.create_secret(Name="hush", SecretString=json.dumps({"hook": url}))["ARN"]
        session.client("ssm").put_parameter(Name="/hush", Value=url, Type="SecureString")
        cursor = secrets.create_secret(Name="hush-cursor", SecretString=f"{MARK}-new,{MARK}-old")["ARN"]
        self.scenes.cursor_secret = cursor
        webhook = json.dumps({"url": f"{url}/json", "key": f"whsec_{MARK * 5}"})
        self.scenes.webhook_secret = secrets.create_secret(Name="hush-webhook", SecretString=webhook)["ARN"]
        local.aws.serve(f"{WEBHOOK}/json", partial(local.catcher.take, channel="webhook"))
        self.scenes.tell_by(f"{slack}#hook")
        heard = self.scenes.context.sessions.session.events
        heard.register("before-call", self.poison.answer)
        heard.register("before-parameter-build.sqs", self.hear_message)

    def tell(self, where: str, *texts: str) -> None:
        self.told.setdefault(where, []).extend(texts)

    def hear_message(self, params: dict[str, Any], **_: Any) -> None:
        for entry in params.get("Entries") or [params]:
            if is_ours(entry.get("MessageBody", "")):
                self.tell("messages", entry["MessageBody"])

    def rest(self) -> None:
        """Until nothing is on its way any more; what fails for good is dead by then."""
        for _ in range(MOST_TURNS):
            if not self.scenes.pump.waiting():
                return
            if not self.scenes.pump.turn():
                self.scenes.clock.move(IDLE)
                time.sleep(HURRY_SECONDS / 2)
        raise AssertionError("the queues do not run dry")

    # ---- what is played

    def hear(self) -> None:
        self.scenes.demo.open()
        self.rest()
        self.scenes.demo.go_on()
        for event in events():
            self.local.aws.put_event(event)
        for queue in ("scans", "findings", "actions", "alerts", "sweeps"):
            for body in UNREADABLE:
                self.local.aws.queues.put(f"lazaretto-dev-{queue}", body)
        self.rest()

    def act(self) -> None:
        """Quarantines and their release; much of it fails somewhere."""
        text = POLICY.format(fuse=50, shut='repository: "team/*"')
        insist(lambda: apply_policy(text, "oncall", self.scenes.context))
        self.rest()
        refs = [*self.scenes.demo.refs[:2], self.with_layers(1)]
        for order in ("quarantine", "release"):
            for ref in refs:
                self.order(order, ref)
            self.rest()
        for _ in range(3):
            self.scenes.clock.move(timedelta(hours=1))
            insist(self.local.run_clock)
            self.rest()

    def with_layers(self, number: int) -> ImageRef:
        home = Repository(ACCOUNT, REGION, f"team/layered-{number}")
        self.scenes.ecr.create_repository(repositoryName=home.name)
        ref = Pusher(self.scenes.ecr, home).image([b"base", b"application %d" % number], ["1.0.0"])
        self.rest()
        return ref

    def order(self, order: str, ref: ImageRef) -> None:
        """Until it is taken: whatever fails, something is to be done."""
        named = {n: getattr(ref, n) for n in ("repository", "registry", "region", "digest")}
        for _ in range(10):
            if self.ask("POST", f"/v1/{order}", {**named, "reason": "it is to be so"}) < 500:
                return
        raise AssertionError(f"{order} of {ref} fails ten times")

    def ask(self, method: str, url: str, body: Any = None) -> int:
        self.scenes.forget()
        answer = self.scenes._answer(method, url, body)
        self.tell("answers", answer.body.decode(), repr(answer.headers))
        status: int = answer.status_code
        return status

    def ask_everything(self) -> None:
        """Each several times: some fail. Then what is refused."""
        ref = self.scenes.demo.refs[0]
        image = urllib.parse.urlencode({n: getattr(ref, n) for n in ("repository", "registry", "region", "digest")})
        for path in ("findings", "images", "image", "verdict", "audit", "repositories", "summary", "replication"):
            for _ in range(4):
                needs = image if path in ("image", "verdict") else "limit=5"
                self.ask("GET", f"/v1/{path}?{needs}")
        self.ask("GET", f"/v1/findings?cursor={'A' * 80}")
        self.ask("GET", "/v1/findings?password=1&limit=0")
        text = f"CannotPullContainerError: {ref}: 403 Forbidden"
        self.ask("GET", f"/v1/pull-failure?{urllib.parse.urlencode({'text': text})}")

    def command(self) -> None:
        """Against the stack's own API, whose calls fail as well."""
        for arguments in (["findings"], ["audit"], ["waivers"], ["image", str(self.scenes.demo.refs[0])]):
            for form in ([], ["--json"]):
                result = CliRunner().invoke(commands, [*arguments, "--url", self.local.api_url, *form])
                self.tell("commands", result.output, str(result.exception or ""))

    def gather(self) -> None:
        catcher = self.local.catcher
        self.tell("alerts", *("\n".join(c.lines) for c in (*catcher.slack, *catcher.caught["webhook"], *catcher.sns())))
        self.tell("items", *items())
        client = boto3.client("sqs", region_name=REGION)
        for name in self.local.template.dead_queues():
            queue = DeadQueue(client, client.get_queue_url(QueueName=name)["QueueUrl"], None)
            for letter in queue.take():
                shown = (letter.head, letter.about, letter.refused, letter.error, letter.names)
                self.tell("letters", *(str(text) for text in shown if text))


def insist(call: Callable[[], Any]) -> None:
    for _ in range(10):
        try:
            call()
        except LazarettoError:
            continue
        return
    raise AssertionError("it fails ten times")


def events() -> Iterator[dict[str, Any]]:
    """The samples, with secrets where others may have put one."""
    for sample in sorted((ROOT / "events").glob("*.json")):
        text = sample.read_text().replace(SAMPLES_ACCOUNT, ACCOUNT)
        event = json.loads(text.replace(json.loads(text)["region"], REGION))
        detail = event["detail"]
        detail |= {"authorizationToken": f"{MARK}registry", "endpoint": f"https://user:{MARK}@example.org/"}
        detail["overrides"] = {"containerOverrides": [{"environment": [{"name": "DB_PASSWORD", "value": MARK}]}]}
        if "requestParameters" in detail:
            asked = detail["requestParameters"] or {}
            detail["requestParameters"] = {**asked, "password": MARK, "environment": {"TOKEN": MARK}}
            detail["responseElements"] = {"credentials": {"sessionToken": SESSION_TOKEN}}
        if "stoppedReason" in detail:
            detail["stoppedReason"] += f" ({BEARER})"
        yield event


def is_ours(body: str) -> bool:
    """EventBridge's events stay in our queues as they came, also those that we put back or that nobody can read."""
    try:
        message = json.loads(body)
    except ValueError:
        return False
    return "detail-type" not in message and message.get("type") != "again"


def items() -> Iterator[str]:
    """Every value of the table; what is packed, unpacked."""
    for table in dynamodb_backends[ACCOUNT][REGION].tables.values():
        for item in table.all_items():
            for attribute in item.attrs.values():
                yield str(attribute.value)
                yield from unpacked(attribute.value)


def unpacked(value: Any) -> Iterator[str]:
    """What zlib has packed, wherever it begins in the first bytes."""
    if not isinstance(value, str | bytes):
        return
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:
        return
    yield raw.decode("latin-1")
    for start in range(min(8, len(raw))):
        try:
            yield zlib.decompressobj().decompress(raw[start:]).decode("latin-1")
        except zlib.error:
            continue


@contextmanager
def logged() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What our own logger says, down to DEBUG; and what a function leaves in its log beside: lines that are printed,
    metrics, and warnings of libraries."""
    handler: Any = logger.registered_handler
    before, level, log, printed = handler.stream, logger.log_level, io.StringIO(), io.StringIO()
    handler.stream = log
    logger.setLevel("DEBUG")
    others = logging.StreamHandler(printed)
    others.setLevel(logging.WARNING)
    others.addFilter(lambda record: record.name != logger.name)
    logging.getLogger().addHandler(others)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield log, printed
    finally:
        logging.getLogger().removeHandler(others)
        handler.stream = before
        logger.setLevel(level)


@contextmanager
def played() -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "aws_variables", lambda url, region: {**aws_variables(url, region), **CREDENTIALS})
        patch.setattr("chalicelib.local.aws.messages.RETRY_SECONDS", 0)
        with local_stack(api_port=0, hurry=HURRY_SECONDS) as local, logged() as (log, printed):
            made = World(local)
            print(HEARD)
            logging.getLogger("a.library").warning(HEARD)
            made.hear()
            made.act()
            made.scenes.tell_by(f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/hush")
            made.ask_everything()
            made.command()
            made.gather()
            made.tell("log", log.getvalue())
            made.tell("printed", printed.getvalue())
            yield made


@pytest.mark.denied
def test_no_secret_is_told() -> None:
    """One test, so that it is played once."""
    with played() as world:
        (log,) = world.told["log"]
        assert world.poison.failed > 10 * len(SAID)
        assert world.local.catcher.slack, "by the webhook that is a secret"
        assert world.local.catcher.caught["webhook"], "signed by the key that is a secret"
        assert [code for code, _, _ in SAID if code not in log] == [], "failures that the log does not know"
        assert world.told.keys() == PLACES
        for where, texts in world.told.items():
            if where == "printed":
                assert "".join(texts).count(HEARD) == 2, "what is printed is not heard"
            else:
                assert sum(map(len, texts)) > 500, f"nothing was told: {where}"
            found = [text[max(0, text.index(MARK) - 200) :][:400] for text in texts if MARK in text]
            assert found == [], where
