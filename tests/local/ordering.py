"""People who ask the API of a local stack: each signs by a name, and orders by the ETag of what is seen."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from chalice.app import Chalice
from chalice.local import LambdaContext
from chalice.test import Client

IMAGE = ("registry", "region", "repository", "digest", "tag")


def seen(client: Client, body: dict[str, Any]) -> dict[str, str]:
    """The header by which the image that the body names is ordered about as it is now."""
    query = urlencode({name: body[name] for name in IMAGE if name in body})
    return {"If-Match": client.http.get(f"/v1/image?{query}").headers.get("ETag", '"a.b.c.d"')}


class Person:
    """`by` as API Gateway says who signed."""

    def __init__(self, app: Chalice, by: str) -> None:
        self.app, self.by = app, by

    def ask(self, method: str, path: str, body: Any = None, *, etag: str | None = None, **query: str) -> Any:
        """Status and body of the answer, and its headers."""
        event = {
            "requestContext": {"httpMethod": method, "resourcePath": path, "identity": {"userArn": self.by}},
            "multiValueQueryStringParameters": {name: [text] for name, text in query.items()} or None,
            "headers": {"content-type": "application/json", **({} if etag is None else {"if-match": etag})},
            "pathParameters": {},
            "body": None if body is None else json.dumps(body),
            "stageVariables": None,
        }
        answer = self.app(event, LambdaContext("api_handler", 128))
        return answer["statusCode"], json.loads(answer["body"]), answer["headers"]

    def see(self, image: dict[str, str]) -> str:
        """The ETag of the image as it is now."""
        status, said, headers = self.ask("GET", "/v1/image", **image)
        assert status == 200, said
        assert headers["ETag"] == f'"{said["etag"]}"'
        return str(headers["ETag"])

    def order(self, kind: str, image: dict[str, str], expected: int = 202, **terms: Any) -> Any:
        """`etag` of the terms: as it was seen; None: none is sent."""
        etag = terms.pop("etag", None)
        status, said, _ = self.ask("POST", f"/v1/{kind}", {**image, "reason": "a drill", **terms}, etag=etag)
        assert status == expected, said
        return said
