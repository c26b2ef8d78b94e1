"""Which requests the servers on 127.0.0.1 answer: none that a web page from elsewhere makes a browser send.

They are open to whoever is on this machine, and a browser is: a page can post to them unseen, and a name of its own
that points at 127.0.0.1 (DNS rebinding) would let it read as well. Source: RFC 9110, 15.5.20; WHATWG Fetch, 3.2.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from chalicelib.api.framework.endpoint import CONTENT_TYPE, GUARDED, Problem

NAMES = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {"Content-Type": CONTENT_TYPE, **GUARDED}
_READS = ("GET", "HEAD", "OPTIONS")
_HTTP_PORT = 80


def refusal(method: str, host: str | None, origin: str | None, port: int) -> Problem | None:
    """None: it is answered. `host`, `origin`: the headers as they came; `port`: the one that is listened on."""
    hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == _HTTP_PORT else set())
    if (host or "").lower() not in hosts:
        detail = f"Host: {_told(host)} is not this machine: ask http://{NAMES[0]}:{port} or http://{NAMES[1]}:{port}."
        return _problem(HTTPStatus.MISDIRECTED_REQUEST, detail)
    if method in _READS or origin is None or origin.lower() in {f"http://{name}" for name in hosts}:
        return None
    return _problem(HTTPStatus.FORBIDDEN, f"Origin: {_told(origin)} may not write here: a web page from elsewhere.")


def body_of(problem: Problem) -> bytes:
    return msgspec.json.encode(problem)


def _problem(status: HTTPStatus, detail: str) -> Problem:
    return Problem("about:blank", status.phrase, status, detail)


def _told(header: str | None) -> str:
    return "(none)" if not header else header[:100]
