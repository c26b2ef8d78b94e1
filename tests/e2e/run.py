"""One end-to-end run: ministack, the registry beside it, the crossing in between, and the stack deployed by the guide.

`with Run() as run:` starts all of it and leaves nothing behind but `build/e2e`: the log of ministack, and `calls.json`,
the calls of AWS that each function made.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from typer.main import get_command

from chalicelib.cli import app
from chalicelib.cli.local.story import type_command
from chalicelib.local.aws.deployment import replaced_environment
from chalicelib.local.story.world import Typed
from tests.e2e.account import QUEUES, VISIBILITY_SECONDS, Account, alter_package, eventually
from tests.e2e.crossing import Call, Crossing, Held, make_certificate
from tests.e2e.emulator import Emulator, way_out
from tests.e2e.guide import ACCOUNT_PART, Guide
from tests.e2e.places import MINISTACK_PYTHON, PACKAGE, REGION, RESULTS, ROOT_KEY, ROOT_SECRET, SLACK, STAGE
from tests.e2e.registry import Registry
from tests.e2e.shell import Shell

CALLS = RESULTS / "calls.json"
PATIENCE_SECONDS = 90.0
LOOK_SECONDS = 0.2
QUIET_LOOKS = 3
SOON_SECONDS = 20
"""What is delayed for longer is due much later: nobody waits for it."""
NEEDED_BYTES = 4 << 30
DEPLOY = f"lazaretto deploy --stage {STAGE} --artifact $ARTEFACT --yes"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


class Taken(msgspec.Struct, frozen=True):
    """A right that a function did not have for a time, by the monotonic clock."""

    function: str
    action: str
    began: float
    ended: float

    def explains(self, function: str, call: Call) -> bool:
        asked = (function, call.name) == (self.function, self.action)
        return asked and self.began <= call.at <= self.ended


class Run:
    def __init__(self) -> None:
        self._closing = ExitStack()
        self.taken: list[Taken] = []
        self.took: dict[str, float] = {}

    def __enter__(self) -> Run:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        began = time.monotonic()
        self._closing.close()
        self.took["stop"] = time.monotonic() - began

    def _start(self) -> None:
        began = time.monotonic()
        shutil.rmtree(RESULTS, ignore_errors=True)
        RESULTS.mkdir(parents=True)
        self.folder = Path(self._closing.enter_context(TemporaryDirectory(prefix="lazaretto-e2e-", dir=_quick())))
        self.registry = Registry()
        self.emulator = Emulator(MINISTACK_PYTHON, self.folder / "ministack", RESULTS / "ministack.log")
        self.certificate = make_certificate(self.folder, f"*.execute-api.{REGION}.amazonaws.com", SLACK)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(self.certificate)
        self._closing.enter_context(replaced_environment({}))
        self.registry.start()
        self._closing.callback(self.registry.stop)
        self.crossing = Crossing(self.emulator.url, self.registry.aws.url, tls)
        self.crossing.start()
        self._closing.callback(self.crossing.stop)
        self._closing.callback(self.emulator.stop)
        self.emulator.start(self.crossing.url, self.certificate)
        os.environ |= {
            **way_out(self.crossing.url, self.certificate),
            "AWS_ACCESS_KEY_ID": ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "ARTEFACT": str(self.folder / "artefact"),
        }
        self.took["start"] = time.monotonic() - began
        self._deploy()

    def _deploy(self) -> None:
        began = time.monotonic()
        self.account = Account(self.emulator.url)
        self.registry.bus.client = self.account.client("events")
        self.differences = alter_package(PACKAGE, self.folder / "artefact")
        self.shell = Shell(self.folder / "shell")
        self._closing.callback(self.shell.close)
        self.guide = Guide(self.shell, self.registry.webhook)
        for said in self.guide.follow(ACCOUNT_PART[0]):
            if said.line.startswith("lazaretto deploy"):
                self.took["deploy"] = time.monotonic() - began
                self._watch()
        self.took["by the guide into the account"] = time.monotonic() - began

    def _watch(self) -> None:
        self.account.hide_failed_messages(VISIBILITY_SECONDS, *QUEUES)
        self.callers = self.account.callers()
        self._subscribe()
        self._closing.callback(self.keep_calls)

    def _subscribe(self) -> None:
        """A queue that hears the topics of the stack, as a person's mailbox would."""
        sqs, sns = self.account.client("sqs"), self.account.client("sns")
        self.mailbox = sqs.create_queue(QueueName="mailbox")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.mailbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        topics = [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topics}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        sqs.set_queue_attributes(QueueUrl=self.mailbox, Attributes={"Policy": policy})
        for topic in topics:
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self._letters: list[str] = []

    # ---- what people do and see

    @property
    def api_url(self) -> str:
        return self.account.outputs()["EndpointURL"].rstrip("/")

    def type(self, *words: str) -> Typed:
        """A command of `lazaretto`, with `--json`: signed, by the API's own address."""
        return type_command(words, get_command(app), self.api_url, self.folder)

    @contextmanager
    def typing_as(self, name: str, *policies: str) -> Iterator[None]:
        """Within, commands are typed with the keys of a person who has these policies (outputs), no more."""
        iam, outputs = self.account.client("iam"), self.account.outputs()
        iam.create_user(UserName=name)
        for policy in policies:
            iam.attach_user_policy(UserName=name, PolicyArn=outputs[policy])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        before = {variable: os.environ[variable] for variable in _KEYS}
        os.environ |= dict(zip(_KEYS, (key["AccessKeyId"], key["SecretAccessKey"]), strict=True))
        try:
            yield
        finally:
            os.environ |= before

    def slack(self) -> list[str]:
        """Every message, oldest first."""
        return ["\n".join(caught.lines) for caught in self.registry.slack.slack]

    def letters(self) -> list[str]:
        """Every alert that the topic sent out, oldest first: subject and text."""
        for message in self.account.received(self.mailbox):
            letter = json.loads(message["Body"])
            self._letters.append(f"{letter.get('Subject', '')}\n{letter['Message']}")
        return self._letters

    def settle(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Until nothing is on its way: no queue has a message, and none is delayed that is due within `SOON_SECONDS`.
        Raises AssertionError where something still is in the end."""
        end, quiet = time.monotonic() + patience_seconds, 0
        while quiet < QUIET_LOOKS:
            assert time.monotonic() < end, f"not handled within {patience_seconds:g} s: {self.account.busy()}"
            time.sleep(LOOK_SECONDS)
            on_its_way = self._delayed_until() > time.monotonic() or self.account.busy()
            quiet = 0 if on_its_way else quiet + 1

    def _delayed_until(self) -> float:
        """When the last message comes that a function has sent with a short delay, by the monotonic clock."""
        due = [0.0]
        for call in self.crossing.calls:
            if call.name == "sqs:SendMessage" and call.at > time.monotonic() - SOON_SECONDS:
                delay = json.loads(call.body).get("DelaySeconds", 0)
                due.append(call.at + delay + LOOK_SECONDS if delay <= SOON_SECONDS else 0.0)
        return max(due)

    def tick(self) -> None:
        """The clock, as its schedule would call it, and all that follows."""
        self.account.invoke("clock", SCHEDULED)
        self.settle()

    def recycle(self, function: str) -> int:
        """Ends the processes of the function, as Lambda does now and then; how many there were."""
        name = self.account.functions()[function]["FunctionName"]
        before = self.emulator.workers(name).keys()
        ended = self.emulator.end_workers(name)
        eventually(lambda: self.emulator.workers(name).keys() & before, lambda left: not left)
        return ended

    def holding(self, function: str, name: str) -> AbstractContextManager[Held]:
        """Within, calls of `service:Operation` by the function wait before they go on."""
        (key,) = [key for key, who in self.callers.items() if who == function]
        return self.crossing.holding(key, name)

    # ---- what the functions did

    def calls_of_functions(self) -> dict[str, list[Call]]:
        found: dict[str, list[Call]] = {}
        for call in self.crossing.calls:
            if (function := self.callers.get(call.who)) is not None:
                found.setdefault(function, []).append(call)
        return found

    @contextmanager
    def without_right(self, function: str, action: str) -> Iterator[None]:
        """Within, the function lacks this right, and calls of that name are refused to it rightly."""
        began = time.monotonic()
        try:
            with self.account.without_right(function, action):
                yield
        finally:
            self.taken.append(Taken(function, action, began, time.monotonic()))

    def refused(self) -> list[str]:
        """Calls that the policy of a function did not allow, but for rights that were taken away."""
        return sorted(
            f"{function}: {call.name}"
            for function, calls in self.calls_of_functions().items()
            for call in calls
            if call.denied and not any(taken.explains(function, call) for taken in self.taken)
        )

    def keep_calls(self) -> None:
        """Writes down what was called and logged by each function so far, while there are functions."""
        functions = self.account.functions() if self.account.stack() else {}
        for function in functions:
            (RESULTS / f"{function}.log").write_text("".join(f"{line}\n" for line in self.account.logs(function)))
        named = {f: sorted({call.name for call in calls}) for f, calls in self.calls_of_functions().items()}
        CALLS.write_text(json.dumps(dict(sorted(named.items())), indent=2) + "\n")


def _quick() -> Path | None:
    """Memory as a folder where there is enough of it: ministack unpacks the zip for each process of a function."""
    quick = Path("/dev/shm")
    return quick if quick.is_dir() and shutil.disk_usage(quick).free > NEEDED_BYTES else None


SCHEDULED: dict[str, Any] = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-27T12:00:00Z",
    "region": REGION,
    "resources": ["arn:aws:events:eu-west-1:123456789012:rule/clock"],
    "detail": {},
}
