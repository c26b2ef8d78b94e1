"""The webhook channel: what is sent is signed, and neither a name, a redirect nor an answer leads it elsewhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.channels import webhook
from chalicelib.adapters.channels.webhook import Webhook, is_public, read_endpoint, wrong_form
from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.alerts.alert_document import alert_id, encode_alert
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from tests.fakes.tls import Authority

RAW_KEY = b"hushhushhushhushhushhushhush4444"
KEY = "whsec_" + base64.b64encode(RAW_KEY).decode()
HOST, PATH = "receiver.example.com", "/in/hush-path?token=hush-query"
PUBLIC = "93.184.216.34"
ALERT = Alert(event="fuse", title="The fuse has blown", at=datetime(2026, 3, 1, 12, tzinfo=UTC))
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Held:
    """A secret that counts how often it had to be asked for anew."""

    def __init__(self, url: str, key: str = KEY) -> None:
        self.text, self.forgotten = json.dumps({"url": url, "key": key}), 0

    def read(self) -> str:
        return self.text

    def forget(self) -> None:
        self.forgotten += 1


class Receiver:
    """Takes connections on 127.0.0.1, keeps what comes, and answers `answer`, byte by byte where `drip` says so."""

    def __init__(self, answer: bytes = OK, drip: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self.answer, self.drip, self.tls = answer, drip, tls
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.names: list[str | None] = []
        self.connections = 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listening.getsockname()[1])
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self) -> None:
        while True:
            try:
                taken, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            with taken:
                try:
                    self.speak(self.tls.wrap_socket(taken, server_side=True) if self.tls else taken)
                except OSError:
                    continue

    def speak(self, taken: socket.socket) -> None:
        with taken, taken.makefile("rb") as lines:
            head = lines.readline().decode()
            headers = {}
            while line := lines.readline().decode().strip():
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            self.got.append((head.strip(), headers, lines.read(int(headers["content-length"]))))
            if not self.drip:
                taken.sendall(self.answer)
                return
            for byte in self.answer:
                taken.sendall(bytes([byte]))
                time.sleep(self.drip)


@contextmanager
def receiving(answer: bytes = OK, drip: float = 0.0, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver(answer, drip, tls)
    receiver.thread.start()
    try:
        yield receiver
    finally:
        # A thread that waits in accept() is not woken by close() alone.
        receiver.listening.shutdown(socket.SHUT_RDWR)
        receiver.listening.close()
        receiver.thread.join(5)


def local(receiver: Receiver) -> Webhook:
    return Webhook(Held(f"http://127.0.0.1:{receiver.port}{PATH}"), local=True)


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} Said", *headers, "Content-Length: 0", "", ""]).encode()


# ---- what is sent


def test_the_alert_is_posted_as_json_with_a_signature_over_id_time_and_body() -> None:
    with receiving() as receiver:
        local(receiver).send(ALERT)
    ((head, headers, body),) = receiver.got
    assert head == f"POST {PATH} HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert body == encode_alert(ALERT)
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(RAW_KEY, said, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert headers["webhook-id"] == json.loads(body)["id"] == alert_id(ALERT)


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that the libraries of Standard Webhooks test themselves with."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = webhook.signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("code", [200, 201, 202, 204])
def test_any_success_is_one(code: int) -> None:
    with receiving(status(code)) as receiver:
        local(receiver).send(ALERT)
    assert receiver.connections == 1


# ---- what is answered


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_a_receiver_in_trouble_is_tried_again_and_says_when(code: int) -> None:
    with receiving(status(code, "Retry-After: 7")) as receiver, pytest.raises(TransientError) as e:
        local(receiver).send(ALERT)
    assert e.value.retry_after_seconds == 7
    assert receiver.connections == 1, "it is the queue that tries again"


@pytest.mark.parametrize("said", ["Fri, 31 Dec 1999 23:59:59 GMT", "-1", "1e9", "9999999", "٣"])
def test_a_wait_that_is_no_number_of_seconds_counts_as_not_said(said: str) -> None:
    answer = b"HTTP/1.1 503 No\r\nRetry-After: " + said.encode() + b"\r\n\r\n"
    with receiving(answer) as receiver, pytest.raises(TransientError) as e:
        local(receiver).send(ALERT)
    assert e.value.retry_after_seconds is None


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_secret_that_is_refused_is_read_anew(code: int) -> None:
    with receiving(status(code)) as receiver:
        secret = Held(f"http://127.0.0.1:{receiver.port}/")
        with pytest.raises(DeniedError, match=str(code)):
            Webhook(secret, local=True).send(ALERT)
    assert secret.forgotten == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(code: int) -> None:
    with receiving() as elsewhere:
        answer = status(code, f"Location: http://127.0.0.1:{elsewhere.port}/")
        with receiving(answer) as receiver, pytest.raises(UpstreamError, match=str(code)):
            local(receiver).send(ALERT)
    assert (receiver.connections, elsewhere.connections) == (1, 0)


@pytest.mark.parametrize("code", [400, 405, 413, 422])
def test_any_other_refusal_is_told_by_its_number(code: int) -> None:
    with receiving(status(code)) as receiver, pytest.raises(UpstreamError, match=f"answered {code}") as e:
        local(receiver).send(ALERT)
    assert type(e.value) is UpstreamError


def test_a_huge_answer_is_not_read() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n" + b"x" * 20_000_000
    with receiving(answer) as receiver:
        began = time.monotonic()
        local(receiver).send(ALERT)
        assert time.monotonic() - began < webhook.ANSWER_SECONDS


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-Hush: 1\r\n" * 5_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
        b"hush " * 100,
        b"",
        b"\x00\xff\xfe",
    ],
)
def test_an_answer_that_is_none_is_tried_again_and_not_repeated(answer: bytes) -> None:
    with receiving(answer) as receiver, pytest.raises(TransientError) as e:
        local(receiver).send(ALERT)
    assert "ush" not in str(e.value)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, b"x" * 10_000])
def test_an_answer_that_drips_is_cut_off(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "ANSWER_SECONDS", 0.3)
    with receiving(answer, drip=0.02) as receiver:
        began = time.monotonic()
        with pytest.raises(TransientError):
            local(receiver).send(ALERT)
        assert time.monotonic() - began < 60, "dripping to its end takes more than three minutes"


def test_a_receiver_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "STEP_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held = Held(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        with pytest.raises(TransientError, match="TimeoutError"):
            Webhook(held, local=True).send(ALERT)


def test_a_port_that_nobody_listens_at_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TransientError, match="ConnectionRefusedError"):
        Webhook(Held(f"http://127.0.0.1:{port}/"), local=True).send(ALERT)


# ---- where it is sent


NOT_PUBLIC = [
    *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "127.255.0.1", "0.0.0.0", "0.1.2.3"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::1", "2002:7f00:1::1", "2002:a9fe:a9fe::"),
    *("2001::1", "3fff::1", "100::1", "4000::1", "", "no address", "2130706433", "0x7f.1", "127.1"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_not_called(address: str) -> None:
    assert not is_public(address)
    called = []
    channel = Webhook(
        Held(f"https://{HOST}{PATH}"),
        resolve=lambda host, port: [PUBLIC, address],
        dial=lambda *asked: called.append(asked),  # type: ignore[arg-type, return-value]
    )
    with pytest.raises(UpstreamError, match="not public"):
        channel.send(ALERT)
    assert called == [], "one such address is enough"


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"])
def test_a_public_address_may_be_called(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_ipv6_carries_it(address: object) -> None:
    assert is_public(str(address)) == is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0"])
def test_a_name_of_this_machine_is_not_called(name: str) -> None:
    with pytest.raises((UpstreamError, TransientError), match=r"not public|cannot be resolved"):
        Webhook(Held(f"https://{name}/")).send(ALERT)


def test_the_local_stack_lets_no_other_host_be_on_this_machine() -> None:
    with pytest.raises(UpstreamError, match="not public"):
        Webhook(Held("https://localhost/"), local=True).send(ALERT)


@pytest.mark.parametrize("error", [socket.gaierror("hush-host"), UnicodeError("hush-host")])
def test_a_name_that_nobody_knows_is_tried_again_and_not_repeated(error: Exception) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise error

    with pytest.raises(TransientError, match="cannot be resolved") as e:
        Webhook(Held(f"https://{HOST}/"), resolve=unknown).send(ALERT)
    assert not re.search("hush|example", str(e.value))
    with pytest.raises(TransientError, match="no address"):
        Webhook(Held(f"https://{HOST}/"), resolve=lambda host, port: []).send(ALERT)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path]:
    folder = tmp_path_factory.mktemp("tls")
    made = Authority(folder)
    made.issue(folder / HOST, HOST)
    made.issue(folder / "other", "other.example.com")
    return made, folder


def server_context(folder: Path, receiver_names: list[str | None]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.sni_callback = lambda connection, name, _: receiver_names.append(name)
    return context


class Network:
    """Every public address leads to the receiver; what a name means changes with each question."""

    def __init__(self, receiver: Receiver, *meanings: list[str]) -> None:
        self.receiver, self.meanings = receiver, list(meanings)
        self.asked: list[tuple[str, int]] = []
        self.dialled: list[tuple[str, int]] = []

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.meanings.pop(0)

    def dial(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self.dialled.append(address)
        return socket.create_connection(("127.0.0.1", self.receiver.port), timeout)


def test_a_name_that_means_another_address_a_moment_later_gains_nothing(authority: tuple[Authority, Path]) -> None:
    made, folder = authority
    names: list[str | None] = []
    with receiving(tls=server_context(folder / HOST, names)) as receiver:
        network = Network(receiver, [PUBLIC], ["127.0.0.1"])
        secret = Held(f"https://{HOST}{PATH}")
        channel = Webhook(secret, resolve=network.resolve, dial=network.dial, trusted=made.trusted)
        channel.send(ALERT)
        with pytest.raises(UpstreamError, match="not public"):
            channel.send(ALERT)
    assert network.asked == [(HOST, 443)] * 2, "once for each alert"
    assert network.dialled == [(PUBLIC, 443)], "the address that was checked"
    assert names == [HOST], "TLS goes by the host's name"
    assert receiver.got[0][1]["host"] == HOST


def test_a_port_is_part_of_the_host_header_and_the_next_address_is_tried(authority: tuple[Authority, Path]) -> None:
    made, folder = authority
    with receiving(tls=server_context(folder / HOST, [])) as receiver:
        network = Network(receiver, ["2606:4700::1111", PUBLIC, "1.1.1.1"])

        def dial(address: tuple[str, int], timeout: float) -> socket.socket:
            if ":" in address[0]:
                network.dialled.append(address)
                raise OSError("no route")
            return network.dial(address, timeout)

        held = Held(f"https://{HOST}:8443/")
        Webhook(held, resolve=network.resolve, dial=dial, trusted=made.trusted).send(ALERT)
    assert network.dialled == [("2606:4700::1111", 8443), (PUBLIC, 8443)]
    assert receiver.got[0][1]["host"] == f"{HOST}:8443"


@pytest.mark.parametrize(("server", "known"), [("other", True), (HOST, False)])
def test_a_certificate_of_another_host_or_of_nobody_is_sent_nothing(
    authority: tuple[Authority, Path], server: str, known: bool
) -> None:
    made, folder = authority
    with receiving(tls=server_context(folder / server, [])) as receiver:
        network = Network(receiver, [PUBLIC])
        trusted = made.trusted if known else ssl.create_default_context
        channel = Webhook(Held(f"https://{HOST}/"), resolve=network.resolve, dial=network.dial, trusted=trusted)
        with pytest.raises(TransientError, match="SSLCertVerificationError"):
            channel.send(ALERT)
    assert receiver.got == []


def test_an_answer_that_drips_through_tls_is_cut_off(
    authority: tuple[Authority, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "ANSWER_SECONDS", 0.3)
    made, folder = authority
    with receiving(b"x" * 10_000, 0.02, server_context(folder / HOST, [])) as receiver:
        network = Network(receiver, [PUBLIC])
        channel = Webhook(Held(f"https://{HOST}/"), resolve=network.resolve, dial=network.dial, trusted=made.trusted)
        began = time.monotonic()
        with pytest.raises(TransientError):
            channel.send(ALERT)
        assert time.monotonic() - began < 60


# ---- the secret


URLS = [
    *(f"http://{HOST}/", "http://127.0.0.1:8000/", f"https://user:hush@{HOST}/", f"https://{HOST}/#hush", f"//{HOST}/"),
    *(f"https://{HOST}/a b", f"https://{HOST}/\r\nHost: hush", f"https://{HOST}:0/", f"https://{HOST}:65536/"),
    *(f"https://{HOST}\\@hush/", "https://[::1]/", "https:///", "file:///etc/passwd", "", f" https://{HOST}/"),
    *(f"https://{HOST}:/", "https://hüsh.example/", f"HTTPS://{HOST}/", f"https://{HOST}?hush"),
]
KEYS = ["", "whsec_", "hush", KEY.removeprefix("whsec_"), "whsec_aHVzaA==", "whsec_" + "A" * 100, "whsec_hush!" * 9]


@pytest.mark.parametrize(
    "text", ["", "hush", "[]", "null", '{"url": "https://hush"}', '{"url": 1, "key": 2}', "\ud800"]
)
def test_a_secret_that_is_no_such_object_is_told_without_it(text: str) -> None:
    said = wrong_form(text)
    assert said is not None
    assert "hush" not in said


@pytest.mark.parametrize(("url", "key"), [*((url, KEY) for url in URLS), *((f"https://{HOST}/", key) for key in KEYS)])
def test_a_url_or_key_of_another_form_is_told_without_it_and_read_anew(url: str, key: str) -> None:
    secret = Held(url, key)
    said = wrong_form(secret.text)
    assert said is not None
    channel = Webhook(secret, resolve=lambda host, port: pytest.fail("it is called"))
    with pytest.raises(UpstreamError) as e:
        channel.send(ALERT)
    assert said in str(e.value)
    assert not re.search("hush|hüsh|example", str(e.value))
    assert (e.value.__cause__, secret.forgotten) == (None, 1)


def test_http_on_this_machine_is_of_the_form_in_the_local_stack_alone() -> None:
    secret = Held("http://127.0.0.1:8000/x").text
    assert wrong_form(secret) is not None
    assert wrong_form(secret, local=True) is None
    for other in ("http://127.0.0.2:80/", "http://localhost:80/", f"http://{HOST}:80/", "http://127.0.0.1.example:1/"):
        assert wrong_form(Held(other).text, local=True) is not None


def test_a_secret_of_its_form_is_not_complained_about() -> None:
    for url in (f"https://{HOST}", f"https://{HOST}/", f"https://{HOST}:8443{PATH}"):
        assert wrong_form(Held(url).text) is None


def traces(channel: Webhook) -> list[str]:
    """What a log would hold of a failure, with what it is chained to."""
    try:
        channel.send(ALERT)
    except UpstreamError as error:
        return [line for line in traceback.format_exception(error) if not line.lstrip().startswith("File ")]
    return []


def test_neither_url_nor_key_is_in_a_log_an_error_or_a_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = [repr(Webhook(Held(f"https://{HOST}{PATH}"))), repr(read_endpoint(Held(f"https://{HOST}{PATH}").text))]
    for answer in (
        OK,
        status(404),
        status(500),
        status(302, "Location: /hush"),
        b"HTTP/1.1 200 OK\r\nhush\r\n\r\n",
        b"",
    ):
        with receiving(answer) as receiver:
            said += traces(local(receiver))
    assert not re.search(r"hush|example|127\.0\.0\.1|whsec", " ".join([*said, caplog.text]))
