"""What AWS answers about a part is read, absent, or one of our errors; never an error of Python's."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.stack.parts import reading
from chalicelib.errors import DeniedError, UpstreamError


class Parts:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @reading("read the part {}")
    def part(self, name: str) -> str:
        return str(self._ask()["Name"])

    @reading("read the part {}", "Gone")
    def found(self, name: str) -> str:
        return str(self._ask()["Name"])

    def _ask(self) -> Any:
        if isinstance(self.answer, str):
            raise ClientError({"Error": {"Code": self.answer}}, "DescribePart")
        return self.answer


def test_an_answer_is_read() -> None:
    assert Parts({"Name": "a"}).part("a") == Parts({"Name": "a"}).found("a") == "a"


def test_an_answer_of_another_shape_is_an_error_of_aws_that_names_what_was_read() -> None:
    for answer in ({}, None, []):
        with pytest.raises(UpstreamError, match="read the part a: an answer that cannot be read"):
            Parts(answer).part("a")


def test_a_part_that_is_gone_is_none_and_one_that_may_not_be_read_is_not() -> None:
    assert Parts("Gone").found("a") is None
    with pytest.raises(DeniedError, match="read the part a"):
        Parts("AccessDenied").found("a")
    with pytest.raises(UpstreamError, match="read the part a"):
        Parts("Gone").part("a")
