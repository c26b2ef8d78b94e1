"""docs/security.md says what is so: each test that it names is there, each limit is the code's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from chalicelib.adapters.channels import slack
from chalicelib.adapters.stores import policy_file
from chalicelib.api import admission
from chalicelib.api.answers import walk
from chalicelib.api.framework import call, parameters, query
from chalicelib.cli.framework import client
from chalicelib.domain.admission import judgement
from chalicelib.domain.alerts import alert_document
from chalicelib.domain.policy import waiver
from chalicelib.parsers.wire import wire
from chalicelib.services.enforcement import give_order

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
KIB = 1024
LIMITS = {
    "body of a request": (
        call.MAX_BODY_BYTES // KIB,
        call.MAX_POLICY_BODY_BYTES // KIB,
        admission.MAX_REVIEW_BYTES // KIB,
    ),
    "images of Amazon ECR in one object of a cluster": (judgement.MAX_IMAGES,),
    "an admission token": (admission.LONGEST_TOKEN,),
    "a parameter's text": (query.MAX_TEXT,),
    "values of a list": (query.MAX_LISTED,),
    "rows of a page": (parameters.LIMIT_MAX,),
    "images behind a page": (walk.MAX_IMAGES,),
    "documents behind a page": (walk.MAX_DOCUMENTS,),
    "nesting of an event or a payload of AWS": (wire.MAX_DEPTH,),
    "nesting of a policy": (policy_file.MAX_DEPTH,),
    "policy file": (policy_file.MAX_BYTES // KIB, policy_file.MAX_NODES),
    "a waiver's or an order's text": (waiver.MAX_TEXT, give_order.MAX_REASON),
    "answer that a command reads": (client.MAX_BYTES // KIB // KIB,),
    "answer of Slack": (slack.LONGEST_ANSWER // KIB,),
    "an alert for the webhook": (alert_document.MAX_BYTES // KIB,),
}
AWS_OWN = {"an unknown parameter, a field no route knows", "event"}


def test_many_sentences_are_tested() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_is_there(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert not name or name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def rows() -> dict[str, tuple[int, ...]]:
    table = PAGE.partition("\n## Input limits\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", table, re.M)[1:]
    return {what: tuple(int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", said)) for what, said in found}


def test_the_limits_are_those_of_the_code() -> None:
    said = rows()
    assert {what: numbers for what, numbers in said.items() if what not in AWS_OWN} == LIMITS
    assert said.keys() == LIMITS.keys() | AWS_OWN


def test_every_function_has_its_worst() -> None:
    section = PAGE.partition("\n## A compromised function\n")[2].partition("\n## ")[0]
    for function in ("on_scans", "on_findings", "on_actions", "on_alerts", "on_sweeps", "clock", "api_handler"):
        assert f"`{function}`" in section
