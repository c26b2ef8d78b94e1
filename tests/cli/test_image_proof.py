"""`lazaretto image` says whether the image has a usable, recent scan, or why not."""

from __future__ import annotations

from chalicelib.domain.images.image import Kind, Repository, Scan, ScanState
from tests.cli.conftest import Run
from tests.fakes.images import digest, image
from tests.fakes.queries import FakeContext


def test_a_proof_and_its_cause_are_shown(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.queries.add(image(2, scan=Scan(ScanState.FAILED, "LIMIT_EXCEEDED")))
    assert "proven" in run("image", "team/api:v1").stdout
    assert "LIMIT: LIMIT_EXCEEDED" in run("image", "team/api:v2").stdout


def test_an_index_has_none(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1, kind=Kind.INDEX))
    assert "proven" not in run("image", "team/api:v1").stdout


def test_public_copies_are_named(run: Run, context: FakeContext) -> None:
    public = Repository("public/acme", "us-east-1", "team/web").image(digest(1))
    context.queries.add(image(1, twins=(public.path,)))
    shown = "".join(run("image", "team/api:v1").stdout.split())
    assert str(public) in shown
