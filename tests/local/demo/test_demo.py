"""The demo, played once through the real app: the verdicts it is there to show, and who was told."""

from __future__ import annotations

import json
import urllib.request

import pytest

from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.demo.demo import ALIAS, Demo
from chalicelib.local.demo.run_stack import HURRY_SECONDS, OF_THE_DEMO, summarize
from tests.local.running import local_stack


@pytest.fixture(scope="module")
def played():
    with local_stack(api_port=0, hurry=HURRY_SECONDS) as stack:
        demo = Demo(stack)
        demo.open()
        assert stack.pump.drain(60)
        demo.go_on()
        assert stack.pump.drain(60)
        yield stack, [stored.header for stored in stack.headers(demo.refs).values()]


def of(headers, repository, tag=None, kind=Kind.IMAGE):
    return [h for h in headers if h.ref.repository == repository and h.kind is kind and (tag is None or tag in h.tags)]


def test_an_index_takes_the_worst_of_its_two_images(played):
    _, headers = played
    (index,) = of(headers, "team/checkout", "2.3.1", Kind.INDEX)
    assert sorted(h.decision for h in of(headers, "team/checkout")) == [Decision.ALLOW, Decision.QUARANTINE]
    assert index.decision is Decision.QUARANTINE
    assert len(of(headers, "team/checkout", kind=Kind.ARTIFACT)) == 1


def test_a_tag_that_moved_names_the_better_image(played):
    stack, headers = played
    home = headers[0].ref.home
    (new,) = of(headers, "team/web", "1.1.0")
    digest = stack.context.table.read_tag(type(home)(new.ref.registry, new.ref.region, "team/web"), "stable")
    assert (digest, new.decision) == (new.ref.digest, Decision.ALLOW)


def test_news_reach_an_image_that_was_clean(played):
    _, headers = played
    (image,) = of(headers, "base/python")
    assert (image.decision, image.counts[0]) == (Decision.WARN, 1)
    assert image.verdict.number > 1


def test_what_cannot_be_scanned_is_never_clean(played):
    _, headers = played
    for repository in ("team/batch", "team/legacy"):
        (image,) = of(headers, repository)
        assert image.decision is Decision.PENDING
        assert image.scan.state.lapsed


def test_a_public_repository_is_not_its_private_namesake(played):
    _, headers = played
    (public,) = [h for h in headers if h.ref.registry == ALIAS]
    assert (public.ref.repository, public.decision) == ("team/web", Decision.PENDING)


def test_people_were_told_and_hostile_texts_are_cut_and_inert(played):
    stack, _ = played
    titles = [caught.lines[0] for caught in stack.catcher.slack]
    assert any(title.startswith("QUARANTINE: team/checkout") for title in titles)
    assert len(stack.catcher.sns()) >= 1
    (hostile,) = [caught for caught in stack.catcher.slack if "team/widgets" in caught.lines[0]]
    assert sum(map(len, hostile.lines)) < 10_000
    assert not any("\x1b" in line or "\u202e" in line for line in hostile.lines)


def test_nothing_is_left_over(played):
    stack, headers = played
    summary = summarize(stack, [h.ref for h in headers], True)
    assert (summary["dead_letters"], stack.pump.waiting()) == (0, 0)
    assert summary["verdicts"]["QUARANTINE"] == 2
    assert json.dumps(summary)


def test_the_api_answers_over_http(played):
    stack, _ = played
    url = f"{stack.api_url}/v1/verdict?repository=team/checkout&tag=2.3.1"
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert json.load(answer)["decision"] == "QUARANTINE"


def test_the_clock_can_be_run(played):
    stack, _ = played
    stack.run_clock()
    assert stack.pump.drain(10)


@pytest.mark.parametrize("call", OF_THE_DEMO)
def test_what_is_printed_to_try_next_is_answered(played, call):
    stack, _ = played
    with urllib.request.urlopen(f"{stack.api_url.rstrip('/')}{call}", timeout=10) as answer:
        assert answer.status == 200
