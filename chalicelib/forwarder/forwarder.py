"""The forwarder in a cluster: takes the API server's reviews, trims and signs them, and calls Lazaretto.

`lazaretto webhook manifest` copies this file into a ConfigMap; it runs on the Python of
public.ecr.aws/lambda/python. It may import only the standard library, botocore and its urllib3.

It never allows by itself. A failed call is a 5xx, and the webhook's failurePolicy decides. It denies
one thing by itself: images whose names alone are longer than Lazaretto reads. What a verdict does not
need (variables, arguments, annotations, the requesting user) stays in the cluster.

When it starts it reports the digests that the cluster's Pods run, so that these may go on for some days
once they are refused.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

PATH, RUNNING_PATH = "/v1/admission", "/v1/admission/running"
MAX_BYTES = 20 * 1024 * 1024
"""Of a review: etcd takes objects of 1.5 MiB, `<` is six characters in JSON, an update has two objects."""
LARGE_BYTES = 1024 * 1024
"""Larger reviews are read one at a time, to limit memory."""
MAX_FORWARDED_BYTES = 2 * 1024 * 1024
"""Of a trimmed review; the API accepts six, in which each quotation mark counts twice."""
MAX_ANSWER_BYTES = 64 * 1024
REVIEWS_AT_ONCE, CONNECTIONS_AT_ONCE = 32, 256
CONNECT_SECONDS, READ_SECONDS = 1.5, 5.0
"""With `RETRY_WITHIN_SECONDS` less than the webhook's ten, so that the log has the reason of a failure."""
RETRY_WITHIN_SECONDS, RETRY_AFTER_SECONDS = 2.0, 0.25
CLOSED = 0
"""In place of a status: the API closed an idle connection."""
RETRIED = (CLOSED, 429, 500, 502, 503, 504)
BUSY = (429, 503)
"""Answered with `Retry-After`: the API server retries within the webhook's timeout (client-go, checkWait)."""
MAX_DEPTH, MAX_MARKS = 50, 4_000_000
"""Levels of a review: what leaves the cluster is within twelve. Marks: what etcd takes has fewer."""
MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{}]', re.DOTALL)
BODY_SECONDS, HANDSHAKE_SECONDS, TURN_SECONDS = 5.0, 5.0, 2.0
IDLE_SECONDS = 120.0
"""Longer than the API server keeps an idle connection (90 s), so that it closes first and no review is lost."""
DRAIN_SECONDS = 5.0
"""It answers that long after SIGTERM, while the Service still sends reviews."""
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
PODS_ASKED, DIGESTS_SENT, MAX_PODS_BYTES = 100, 200, 32 * 1024 * 1024
PODS_SECONDS, REPORT_AGAIN_SECONDS = 30.0, 30.0
NAMED_WITHIN_SECONDS = 20.0
"""It is ready after that long although it does not know its cluster: answers are worth more than grace."""
RAN_AS = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
DIGEST = re.compile(r".*@(sha256:[0-9a-f]{64})")

CONTAINERS = [{"name": None, "image": None}]
POD = {
    "containers": CONTAINERS,
    "initContainers": CONTAINERS,
    "ephemeralContainers": CONTAINERS,
    "volumes": [{"name": None, "image": {"reference": None}}],
}
TEMPLATE = {"spec": POD}
OBJECT = {"spec": {**POD, "template": TEMPLATE, "jobTemplate": {"spec": {"template": TEMPLATE}}}, "template": TEMPLATE}
REVIEW = {
    "apiVersion": None,
    "kind": None,
    "request": {
        "uid": None,
        "kind": {"group": None, "version": None, "kind": None},
        "operation": None,
        "namespace": None,
        "dryRun": None,
        "object": OBJECT,
        "oldObject": OBJECT,
    },
}
"""What leaves the cluster: the fields of a mapping, the form of a list's items, None for a scalar."""
STATUS = {"code": None, "message": None, "reason": None}


class RefusedError(Exception):
    """The request is no acceptable review. `status`: of the HTTP answer."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class UnansweredError(Exception):
    """Lazaretto gave no answer to this review. `upstream`: its HTTP status, if any."""

    def __init__(self, reason: str, upstream: int | None = None) -> None:
        super().__init__(reason)
        self.upstream = upstream


def trim(value: Any, form: Any) -> Any:
    """The parts of `value` that `form` names. A value of another form becomes empty: its reader refuses it."""
    if isinstance(form, Mapping) and isinstance(value, dict):
        return {name: trim(inner, form[name]) for name, inner in value.items() if name in form}
    if isinstance(form, list) and isinstance(value, list):
        return [trim(item, form[0]) for item in value]
    of_the_form = form is None and not isinstance(value, dict | list)
    return value if of_the_form or value is None else type(value)()


def shallow(body: bytes) -> bytes:
    """Null in place of what is too deep to be sent. An API server takes 10,000 levels (of `managedFields`, by an
    object's author), Python 3.11 takes 1,000: a refused review would let its Pod start where failures are ignored."""
    kept, depth, begun = bytearray(), 0, 0
    for mark in islice(MARK.finditer(body), MAX_MARKS):
        if mark[0] in (b"{", b"["):
            depth += 1
            if depth == MAX_DEPTH:
                kept += body[begun : mark.start()] + b"null"
                begun = len(body)
        elif mark[0] in (b"}", b"]"):
            if depth == MAX_DEPTH:
                begun = mark.end()
            depth -= 1
    return bytes(kept + body[begun:])


def parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        return json.loads(shallow(body))


def read_review(body: bytes) -> dict[str, Any]:
    """A trimmed AdmissionReview. Raises RefusedError."""
    try:
        review = trim(parsed(body), REVIEW)
    except (ValueError, RecursionError) as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is no JSON") from error
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is no AdmissionReview")
    request = review.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("uid"), str) or not request["uid"]:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the review has no request with a uid")
    return review


def too_long(size_bytes: int) -> dict[str, Any]:
    """A failure would admit a bad image beside a name of a megabyte, where failures are ignored."""
    text = f"names and images of its containers take {size_bytes:,} bytes; at most {MAX_FORWARDED_BYTES:,} are judged"
    return {"allowed": False, "status": {"code": int(HTTPStatus.REQUEST_ENTITY_TOO_LARGE), "message": text}}


class Kubernetes:
    """The API server of the cluster, asked with the pod's service account. Raises UnansweredError."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address, self._token = address, folder / "token"
        self._http = URLLib3Session(
            verify=str(folder / "ca.crt"),  # type: ignore[arg-type]  # a file as well
            timeout=(CONNECT_SECONDS, PODS_SECONDS),  # type: ignore[arg-type]  # it takes two as well
        )

    def cluster(self) -> str:
        """The UID of the namespace kube-system, which no other cluster has."""
        try:
            return str(self._get("/api/v1/namespaces/kube-system")["metadata"]["uid"])
        except (LookupError, TypeError) as error:
            raise UnansweredError("the namespace kube-system has no uid") from error

    def running(self) -> set[str]:
        """The digests of what Pods run, as the nodes report them."""
        found: set[str] = set()
        following = ""
        while True:
            page = self._get(f"/api/v1/pods?fieldSelector=status.phase%3DRunning&limit={PODS_ASKED}{following}")
            try:
                for pod in page["items"]:
                    found.update(ran(pod.get("status") or {}))
                token = (page.get("metadata") or {}).get("continue")
            except (LookupError, TypeError, AttributeError) as error:
                raise UnansweredError("the API server lists no Pods") from error
            if not token:
                return found
            following = f"&continue={quote(token, safe='')}"

    def _get(self, path: str) -> Any:
        try:
            headers = {"Authorization": f"Bearer {self._token.read_text().strip()}", "Accept": "application/json"}
            request = AWSRequest("GET", self._address + path, headers, stream_output=True)
            response = self._http.send(request.prepare())
            body = response.raw.read(MAX_PODS_BYTES + 1)
            response.raw.release_conn()
            if response.status_code != HTTPStatus.OK or len(body) > MAX_PODS_BYTES:
                raise UnansweredError(f"the API server answers {response.status_code}")
            return parsed(body)
        except (BotoCoreError, HTTPError, OSError, ValueError, RecursionError) as error:
            raise UnansweredError(f"the API server cannot be asked: {type(error).__name__}") from error


def ran(status: dict[str, Any]) -> Iterator[str]:
    """Of a Pod's containers, those whose image a node has pulled."""
    for kind in RAN_AS:
        for container in status.get(kind) or ():
            if (told := DIGEST.fullmatch(container.get("imageID") or "")) is not None:
                yield told[1]


class Lazaretto:
    """The API behind `url`, called with the pod's credentials, which botocore renews. Raises UnansweredError.

    `cluster`: which one asks; None until its API server has said so."""

    def __init__(self, url: str, session: Session) -> None:
        parts = urlsplit(url)
        self._region = session.get_config_variable("region")
        if parts.scheme != "https" or not parts.hostname or not self._region:
            raise SystemExit("LAZARETTO_URL must be an https address, AWS_DEFAULT_REGION the Region of the API")
        self._url, self._session = url.rstrip("/"), session
        self.cluster: str | None = None
        self._http = URLLib3Session(
            verify=session.get_config_variable("ca_bundle") or True,
            proxies=get_environ_proxies(self._url),
            timeout=(CONNECT_SECONDS, READ_SECONDS),  # type: ignore[arg-type]  # it takes two as well
            max_pool_connections=REVIEWS_AT_ONCE,
            # Else the body waits for the acknowledgement of the headers: 40 ms a review.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # type: ignore[list-item]  # as setsockopt takes them
        )
        self._lock = threading.Lock()
        self._found: Credentials | None = None

    def credentials(self) -> ReadOnlyCredentials:
        try:
            with self._lock:
                self._found = self._found or self._session.get_credentials()
            if self._found is None:
                raise UnansweredError("the pod has no credentials: has its service account a role?")
            frozen: ReadOnlyCredentials = self._found.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            log("credentials", error=str(error))  # it may name roles, which the author of a Pod must not see
            raise UnansweredError("the pod's credentials cannot be had") from error
        return frozen

    def ask(self, review: dict[str, Any], body: bytes) -> dict[str, Any]:
        """The response, trimmed to what a validating webhook may say."""
        named = f"?cluster={quote(self.cluster, safe='')}" if self.cluster else ""
        status, answer = self._twice(PATH + named, body)
        if status != HTTPStatus.OK:
            raise UnansweredError(f"it answers {status}", status)
        try:
            said = json.loads(answer)["response"]
            uid, allowed = said["uid"], said["allowed"]
        except (ValueError, RecursionError, LookupError, TypeError) as error:
            raise UnansweredError("it does not answer with an AdmissionReview", status) from error
        if uid != review["request"]["uid"] or not isinstance(allowed, bool):
            raise UnansweredError("its answer is not one to this review", status)
        return {"allowed": allowed, **trim(said, {"status": STATUS, "warnings": [None]})}

    def report(self, cluster: str, digests: list[str]) -> None:
        """Tells what the cluster runs."""
        for begin in range(0, len(digests), DIGESTS_SENT):
            told = {"cluster": cluster, "digests": digests[begin : begin + DIGESTS_SENT]}
            status, _ = self._twice(RUNNING_PATH, json.dumps(told).encode())
            if status != HTTPStatus.OK:
                raise UnansweredError(f"it answers {status}", status)

    def _twice(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Retries a fast failure once: a review changes nothing."""
        begun = time.monotonic()
        status, answer = self._once(path, body)
        if status in RETRIED and time.monotonic() - begun < RETRY_WITHIN_SECONDS:
            time.sleep(RETRY_AFTER_SECONDS)
            status, answer = self._once(path, body)
        if status == CLOSED:
            raise UnansweredError("it closes the connection")
        return status, answer

    def _once(self, path: str, body: bytes) -> tuple[int, bytes]:
        """HTTP status (or CLOSED) and body. TLS is verified, and no redirect is followed."""
        request = AWSRequest("POST", self._url + path, {"Content-Type": "application/json"}, body, stream_output=True)
        SigV4Auth(self.credentials(), "execute-api", self._region).add_auth(request)
        try:
            response = self._http.send(request.prepare())
            answer = response.raw.read(MAX_ANSWER_BYTES + 1)
        except ConnectionClosedError:
            return CLOSED, b""
        except BotoCoreError as error:
            raise UnansweredError(f"it cannot be reached: {type(error).__name__}") from error
        except (HTTPError, OSError) as error:  # while reading the body, which botocore does not wrap
            raise UnansweredError(f"its answer broke off: {type(error).__name__}") from error
        if len(answer) > MAX_ANSWER_BYTES:
            response.raw.close()
            raise UnansweredError(f"it answers more than {MAX_ANSWER_BYTES:,} bytes", response.status_code)
        response.raw.release_conn()
        return response.status_code, answer


class Certificate:
    """tls.crt and tls.key of a folder that is renewed at run time (a Secret of cert-manager)."""

    def __init__(self, folder: Path) -> None:
        self._paths = folder / "tls.crt", folder / "tls.key"
        self._reading = threading.Lock()
        self._stamp = self._now()
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Of the newest readable certificate. A half-written one is read by the next connection."""
        with self._reading:
            try:
                if (stamp := self._now()) != self._stamp:
                    self._context, self._stamp = self._load(), stamp
                    log("certificate", renewed=True)
            except OSError as error:  # ssl.SSLError is one
                log("certificate", renewed=False, error=str(error))
            return self._context

    def _now(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._paths)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._paths)
        return context


class Handler(BaseHTTPRequestHandler):
    """GET /healthz: it runs. GET /readyz: it has credentials. POST /v1/admission: a review."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lazaretto-forwarder", ""
    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    server: Forwarder

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/healthz":
            self._say(HTTPStatus.OK, {"ok": True})
        elif path == "/readyz":
            ready = self.server.ready()
            self._say(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, {"ok": ready})
        else:
            self._say(HTTPStatus.NOT_FOUND, {"reason": "no such path"})

    def do_POST(self) -> None:
        """The API server adds `?timeout=10s` to the path."""
        facts: dict[str, Any] = {}
        begun = time.monotonic()
        try:
            with held(self.server.turns):
                answer = self._review(facts)
            self._say(HTTPStatus.OK, answer)
        except RefusedError as error:
            facts["error"] = str(error)
            self._say(error.status, {"reason": str(error)}, error.status in BUSY)
        except UnansweredError as error:
            facts |= {"error": str(error), "upstream": error.upstream}
            self._say(HTTPStatus.BAD_GATEWAY, {"reason": f"Lazaretto: {error}"}, error.upstream in BUSY)
        finally:
            log("review", **facts, milliseconds=round((time.monotonic() - begun) * 1000))

    def _review(self, facts: dict[str, Any]) -> dict[str, Any]:
        if urlsplit(self.path).path != PATH:
            raise RefusedError(HTTPStatus.NOT_FOUND, "no such path")
        length = self._length()
        with held(self.server.large) if length > LARGE_BYTES else nullcontext():
            body = self._body(length)
            with self.server.parsing():
                review = read_review(body)
        request = review["request"]
        kind = request.get("kind")
        facts |= {name: named(request.get(name)) for name in ("uid", "operation", "namespace")}
        facts["kind"] = named(kind.get("kind") if isinstance(kind, dict) else None)
        body = json.dumps(review, separators=(",", ":")).encode()
        if len(body) > MAX_FORWARDED_BYTES:
            response = too_long(len(body))
        else:
            response = self.server.lazaretto.ask(review, body)
        facts["allowed"] = response["allowed"]
        response = {"uid": request["uid"], **response}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

    def _length(self) -> int:
        said = self.headers.get("Content-Length", "")
        if not (said.isascii() and said.isdigit()) or "Transfer-Encoding" in self.headers:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "Content-Length is required")
        if len(said) > len(str(MAX_BYTES)) or int(said) > MAX_BYTES:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BYTES:,} bytes are read")
        return int(said)

    def _body(self, length: int) -> bytes:
        read, until = bytearray(), time.monotonic() + BODY_SECONDS
        try:
            while len(read) < length:
                self.connection.settimeout(max(until - time.monotonic(), 0.001))
                part = self.rfile.read1(min(length - len(read), 65536))
                if not part:
                    raise RefusedError(HTTPStatus.BAD_REQUEST, "the body broke off")
                read += part
        except OSError as error:
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body did not come") from error
        self.connection.settimeout(IDLE_SECONDS)
        return bytes(read)

    def _say(self, status: HTTPStatus, answer: Mapping[str, Any], busy: bool = False) -> None:
        """Closes the connection after an error: the rest of an unread body would be parsed as the next request."""
        body = json.dumps(answer, separators=(",", ":")).encode()
        self.close_connection = self.close_connection or status != HTTPStatus.OK or self.server.draining
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        if busy:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing: a review has its own log line, and probes need none."""


class Forwarder(ThreadingHTTPServer):
    """One thread per connection, which also does the TLS handshake: a slow client delays no other."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, port: int, certificate: Certificate, lazaretto: Lazaretto) -> None:
        self.lazaretto, self.draining = lazaretto, False
        self.named_by = 0.0
        self._certificate, self._parsing = certificate, threading.Lock()
        self.turns, self.large = threading.BoundedSemaphore(REVIEWS_AT_ONCE), threading.BoundedSemaphore(1)
        self._connections = threading.BoundedSemaphore(CONNECTIONS_AT_ONCE)
        super().__init__(("", port), Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would ask DNS for our name

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._connections.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread started that would release it
            self._connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(HANDSHAKE_SECONDS)
            safe = self._certificate.context().wrap_socket(request, server_side=True)
        except OSError:
            self.shutdown_request(request)
        else:
            super().process_request_thread(safe, client_address)
        finally:
            self._connections.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # a client that hung up is normal
            log("failure", error=repr(error))

    @contextmanager
    def parsing(self) -> Iterator[None]:
        """One at a time, to limit memory; the interpreter's lock allows no more anyway. Millions of lists take ten
        seconds with the garbage collector, and two without."""
        with self._parsing:
            gc.disable()
            try:
                yield
            finally:
                gc.enable()

    def ready(self) -> bool:
        """Whether reviews should come here. Lazaretto is not called: failurePolicy covers its failures."""
        try:
            self.lazaretto.credentials()
        except UnansweredError as error:
            log("unready", error=str(error))
            return False
        named = self.lazaretto.cluster is not None or time.monotonic() >= self.named_by
        return named and not self.draining

    def end(self, *_: object) -> None:
        """For SIGTERM. `shutdown` waits for the loop of this thread, so another thread calls it."""
        self.draining = True
        threading.Timer(DRAIN_SECONDS, self.shutdown).start()


@contextmanager
def held(places: threading.BoundedSemaphore) -> Iterator[None]:
    """Waits for a free place. Raises RefusedError after TURN_SECONDS."""
    if not places.acquire(timeout=TURN_SECONDS):
        raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many reviews at once")
    try:
        yield
    finally:
        places.release()


def named(value: object) -> str | None:
    return value[:253] if isinstance(value, str) else None


def log(event: str, **facts: object) -> None:
    """One JSON line of ASCII, without None values."""
    said = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event}
    line = json.dumps(said | {name: value for name, value in facts.items() if value is not None})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def report_running(lazaretto: Lazaretto, kubernetes: Kubernetes) -> None:
    """Once, however often it has to be tried. Reviews are answered meanwhile; the cluster is named in them from then
    on when it is known."""
    while True:
        try:
            lazaretto.cluster = lazaretto.cluster or kubernetes.cluster()
            digests = sorted(kubernetes.running())
            lazaretto.report(lazaretto.cluster, digests)
        except UnansweredError as error:
            log("running", error=str(error), upstream=error.upstream)
            time.sleep(REPORT_AGAIN_SECONDS)
        else:
            log("running", cluster=lazaretto.cluster, digests=len(digests))
            return


def api_server() -> str | None:
    """As kubelet tells it to each container."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return None
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def main() -> None:
    certificate = Certificate(Path(os.environ.get("TLS_FOLDER", "/tls")))
    lazaretto = Lazaretto(os.environ["LAZARETTO_URL"], Session())
    with Forwarder(int(os.environ.get("PORT", "8443")), certificate, lazaretto) as server:
        signal.signal(signal.SIGTERM, server.end)
        if (address := api_server()) is not None:
            kubernetes = Kubernetes(address, Path(os.environ.get("SERVICE_ACCOUNT_FOLDER", SERVICE_ACCOUNT)))
            server.named_by = time.monotonic() + NAMED_WITHIN_SECONDS
            threading.Thread(target=report_running, args=(lazaretto, kubernetes), daemon=True).start()
        log("listening", port=server.server_address[1])
        server.serve_forever()
    log("ended")


if __name__ == "__main__":
    main()
