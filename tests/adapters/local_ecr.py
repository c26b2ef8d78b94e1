"""The ECR client of the local AWS, of whose answers a test says some itself."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.exceptions import ClientError

from tests.local import samples


class EcrClient:
    """The client of the local AWS, but what `answers` names: that is raised, returned, or called with the real call.
    `called` are the operations asked for."""

    def __init__(self, **answers: Any) -> None:
        self._real, self._answers, self.called = boto3.client("ecr", samples.REGION), answers, list[str]()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)

        def call(**arguments: Any) -> Any:
            self.called.append(name)
            answer = self._answers.get(name, real)
            if isinstance(answer, Exception):
                raise answer
            if answer is real:
                return real(**arguments)
            return answer(lambda: real(**arguments)) if callable(answer) else answer

        return call


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Any")
