"""`/v1/image` says whether its push has led to a usable, recent scan, and where else the digest lies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from chalicelib.domain.images.image import Kind, Repository, Scan, Source
from chalicelib.domain.reconcile.scan_rule import Frequency, ScanRule, Uncovered
from tests.api.conftest import Ask
from tests.fakes.images import digest, home, image, ref
from tests.fakes.queries import NOW, FakeContext

UNCOVERED = ScanRule(Source.BASIC, Frequency.MANUAL, (), Uncovered.NO_FILTER_MATCHES)


def proof(ask: Ask, number: int = 1) -> Any:
    return ask("/v1/image", repository="team/api", digest=digest(number))["scan_proof"]


def unscanned(number: int, **more: Any) -> Any:
    return image(number, scan=Scan(), refreshed_at=None, pushed_at=NOW - timedelta(days=1), **more)


def ruled(context: FakeContext, fact: object) -> None:
    context.queries.homes[home()] = {"scanning": fact}


def test_a_scanned_image_is_proven(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    assert proof(ask) == {"proven": True, "cause": None, "detail": "scanned", "rule": None}


def test_an_image_that_no_rule_covers_names_the_rule_that_is_missing(ask: Ask, context: FakeContext) -> None:
    context.queries.add(unscanned(1))
    ruled(context, msgspec.to_builtins(UNCOVERED))
    assert proof(ask) == {
        "proven": False,
        "cause": "NO_FILTER_MATCHES",
        "detail": UNCOVERED.words,
        "rule": UNCOVERED.words,
    }


def test_a_rule_that_cannot_be_read_is_not_known(ask: Ask, context: FakeContext) -> None:
    context.queries.add(unscanned(1))
    for fact in ({"scanner": "NEWEST"}, "odd", 1):
        ruled(context, fact)
        assert proof(ask)["cause"] == "UNKNOWN"


def test_what_is_not_scanned_itself_has_no_proof(ask: Ask, context: FakeContext) -> None:
    context.queries.add(unscanned(1, kind=Kind.INDEX))
    assert proof(ask) is None


def test_the_same_digest_elsewhere_is_named(ask: Ask, context: FakeContext) -> None:
    public = Repository("public/acme", "us-east-1", "team/web").image(digest(1))
    context.queries.add(image(1, twins=(public.path,)))
    context.queries.add(image(1, where=public, twins=(ref(1).path,)))
    assert ask("/v1/image", repository="team/api", digest=digest(1))["twins"] == [str(public)]
    assert ask("/v1/image", registry="public/acme", repository="team/web", digest=digest(1))["twins"] == [str(ref(1))]
