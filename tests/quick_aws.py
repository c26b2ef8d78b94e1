"""What botocore and moto find out again for each client and each call, found out once in a process.

Nothing here changes an answer: a name, the methods of a class, what a service's model says, a signature that moto does
not read.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from string import ascii_letters, digits
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

BARE = ("CONTENT_TYPE", "CONTENT_LENGTH")
"""The headers whose names have no prefix in an environment."""
OURS = {"dynamodb", "ecr", "events", "sns", "sqs", "sts"}


def quick_botocore(patch: pytest.MonkeyPatch) -> None:
    """No call waits before it is tried again, nor for the rate limiter of adaptive retries. What botocore knows of a
    service is read once in a process, and not by each session that a test makes: most of what a client costs."""
    from botocore import auth, endpoint, hooks, session
    from botocore.retries.bucket import TokenBucket

    patch.setattr(session, "create_loader", functools.cache(session.create_loader))
    patch.setattr(endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))
    patch.setattr(TokenBucket, "acquire", lambda bucket, amount=1, block=True: True)
    patch.setattr(hooks, "accepts_kwargs", _accepts_kwargs)
    known: dict[str, str] = {}
    find = hooks.EventAliaser._alias_event_name

    def alias(aliaser: Any, name: str) -> str:
        if name not in known:
            known[name] = find(aliaser, name)
        return known[name]

    patch.setattr(hooks.EventAliaser, "_alias_event_name", alias)
    sign = auth.SigV4Auth.add_auth

    def add_auth(signer: Any, request: Any) -> None:
        """moto reads who asks which service in which Region, and checks no signature. What API Gateway checks is
        signed."""
        if type(signer) is not auth.SigV4Auth or signer.credentials is None or signer._service_name == "execute-api":
            sign(signer, request)
            return
        request.context["timestamp"] = datetime.now(UTC).strftime(auth.SIGV4_TIMESTAMP)
        signer._modify_request_before_signing(request)
        scope = f"Credential={signer.scope(request)}, SignedHeaders=host, Signature={'0' * 64}"
        request.headers["Authorization"] = f"AWS4-HMAC-SHA256 {scope}"

    patch.setattr(auth.SigV4Auth, "add_auth", add_auth)


def _accepts_kwargs(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    if code is None:
        return bool(inspect.getfullargspec(function).varkw)
    return bool(code.co_flags & inspect.CO_VARKEYWORDS)


def environ(method: str, url: str, headers: Mapping[str, str | bytes], body: Any = None) -> dict[str, Any]:
    """A request as a server makes it of what it is sent (PEP 3333)."""
    parts = urlsplit(url)
    body = body.read() if hasattr(body, "read") else body or b""
    body = body.encode() if isinstance(body, str) else bytes(body)
    made = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path or "/").decode("latin-1"),
        "QUERY_STRING": parts.query,
        "RAW_URI": f"{parts.path or '/'}?{parts.query}".removesuffix("?"),
        "SERVER_NAME": parts.hostname,
        "SERVER_PORT": str(parts.port or (443 if parts.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": parts.netloc,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers.items():
        key = name.upper().replace("-", "_")
        made[key if key in BARE else f"HTTP_{key}"] = value.decode() if isinstance(value, bytes) else value
    return {**made, "CONTENT_LENGTH": str(len(body))}


def _random_string(random: Random, length: int = 20, include_digits: bool = True, lower_case: bool = False) -> str:
    """As moto's, which chooses letter by letter: each answer has an id of 52."""
    made = "".join(random.choices(ascii_letters + (digits if include_digits else ""), k=length))
    return made.lower() if lower_case else made


@functools.cache
def quick_moto() -> None:
    """Imports moto: half a second, which only a test that needs it shall take, and when it runs."""
    # Each Region of each world would make hundreds of machine images, of which no test starts any.
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    from moto import backend_index
    from moto.core import models, responses, utils
    from moto.core.request import Request
    from moto.moto_api._internal.moto_random import MotoRandom

    vars(responses)["method_names_from_class"] = functools.cache(responses.method_names_from_class)
    MotoRandom.get_random_string = _random_string
    spelled = functools.cache(utils.camelcase_to_underscores)
    for module in [module for name, module in sys.modules.items() if name.startswith("moto.")]:
        if spelled.__name__ in vars(module):
            vars(module)[spelled.__name__] = spelled
    # werkzeug would build the same request as an address, a form and files.
    Request.from_primitives = lambda *asked: Request(environ(*asked))
    # For each call the patterns of 110 services would be tried in the order of their names.
    vars(backend_index)["backend_url_patterns"].sort(key=lambda known: known[0] not in OURS)
    # Each `mock_aws` would register 800 patterns of addresses with `requests`, by which nothing here asks AWS.
    vars(models)["RESPONSES_METHODS"] = []
