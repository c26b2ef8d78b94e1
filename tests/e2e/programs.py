"""`aws` and `docker`, as far as the guide for newcomers types them: AWS's API by botocore's models, and no daemon.

An image that is pushed is a small one of this run, whatever was pulled under its name.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import botocore.session
import jmespath
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

_OURS = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/(?P<repository>[^:@]+):(?P<tag>.+)")
_SESSION = botocore.session.get_session()


def client(service: str) -> Any:
    return _SESSION.create_client(service)


def aws(service: str, command: str, *rest: str) -> object:
    """Raises botocore's errors, and LookupError for what AWS does not know."""
    if (service, command) == ("ecr", "get-login-password"):
        (token,) = client("ecr").get_authorization_token()["authorizationData"]
        return base64.b64decode(token["authorizationToken"]).decode().partition(":")[2]
    if (service, command) == ("logs", "tail"):
        return _tail(*rest)
    model = _SESSION.get_service_model(service)
    (operation,) = [name for name in model.operation_names if xform_name(name, "-") == command]
    members = model.operation_model(operation).input_shape.members
    by_option = {xform_name(name, "-"): name for name in members}
    given, how = {}, {"query": "@", "output": "json"}
    for option, value in _options(rest):
        if option in how:
            how[option] = value
        else:
            given[by_option[option]] = _value(members[by_option[option]], value)
    answer = jmespath.search(how["query"], getattr(client(service), xform_name(operation))(**given))
    if how["output"] == "text":
        return "\t".join(answer) if isinstance(answer, list) else answer
    return json.dumps(answer, indent=4, default=str)


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    words = list(words)
    while words:
        option = words.pop(0).removeprefix("--")
        yield option, words.pop(0) if words and not words[0].startswith("--") else ""


def _value(shape: Any, text: str) -> Any:
    """As the AWS CLI reads it: files, flags, and its shorthand."""
    match shape.type_name:
        case "list":
            return [_value(shape.member, text)]
        case "structure":
            pairs = (pair.split("=", 1) for pair in text.split(","))
            return {name: _value(shape.members[name], value) for name, value in pairs}
        case "boolean":
            return text in ("", "true")
        case "integer" | "long":
            return int(text)
    return sys.stdin.read() if text == "file:///dev/stdin" else text


def _tail(group: str, _: str, since: str) -> str:
    begin = int(1e3 * (time.time() - 3600 * int(since.removesuffix("h"))))
    pages = client("logs").get_paginator("filter_log_events").paginate(logGroupName=group, startTime=begin)
    return "\n".join(event["message"] for page in pages for event in page["events"])


def docker(command: str, *rest: str) -> object:
    """Raises LookupError for an image that cannot be pulled."""
    if command == "login":
        if not sys.stdin.read().strip():
            raise LookupError("no password")
        return "Login Succeeded"
    ours = _OURS.fullmatch(rest[-1])
    if ours is None or command == "tag":
        return ""
    ecr, named = client("ecr"), {"repositoryName": ours["repository"]}
    if command == "push":
        text = _manifest(ours["repository"], ours["tag"])
        return ecr.put_image(**named, imageManifest=text, imageTag=ours["tag"])["image"]["imageId"]["imageDigest"]
    found = ecr.batch_get_image(**named, imageIds=[{"imageTag": ours["tag"]}])
    if not found["images"]:
        raise LookupError(f"{rest[-1]}: not found")
    return rest[-1]


def _manifest(repository: str, tag: str) -> str:
    # Imported late: it is half of the time these programs take.
    from chalicelib.local.demo.demo_registry import manifest

    return manifest(repository, tag, "linux/amd64")


PROGRAMS: dict[str, Callable[..., object]] = {"aws": aws, "docker": docker}

if __name__ == "__main__":
    try:
        print(PROGRAMS[sys.argv[1]](*sys.argv[2:]))
    except (BotoCoreError, ClientError, LookupError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
