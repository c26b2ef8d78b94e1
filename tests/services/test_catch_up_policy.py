"""A new policy: every image is decided again, and people are told once."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from chalicelib.adapters.header_items import row_of
from chalicelib.domain.header import Header, Rules
from chalicelib.domain.image import ImageRef, Scan, ScanState, Source
from chalicelib.domain.message import Decide, Delivery
from chalicelib.domain.policy import parse_policy
from chalicelib.services.catch_up_policy import catch_up_policy
from chalicelib.services.receive_batch import receive_batch
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROUTE = {"channel": "slack", "min_decision": "warn"}
ALLOWS = {"version": 1, "notify": [ROUTE]}
BLOCKS = ALLOWS | {"rules": [{"id": "all", "match": {"repository": "*"}, "decision": "block"}]}


class Told:
    name = "slack"

    def __init__(self):
        self.alerts = []

    def send(self, alert):
        self.alerts.append(alert)


class Place:
    """A registry of `images`, decided by a policy that only allows."""

    def __init__(self, images):
        self.table = FakeTable(lambda: NOW)
        self.clock = SimpleNamespace(now=lambda: NOW)
        self.settle = timedelta(seconds=60)
        self.sent = []
        self.outbox = SimpleNamespace(send=lambda queue, message, delay=0: self.sent.append((queue, message)))
        self.queries = SimpleNamespace(all_rows=lambda: (row_of(h) for h in self.table.headers.values()))
        self.rule(ALLOWS, 0)
        for n in range(images):
            ref = ImageRef("111122223333", "eu-west-1", "team/api", f"sha256:{n:064x}")
            scan = Scan(ScanState.COMPLETE, None, Source.BASIC, NOW)
            self.table.put_header(
                Header(ref=ref, exists=True, known_at=NOW, pushed_at=NOW, scan=scan, scan_seen_at=NOW, looked_at=NOW)
            )
            self.deliver(Decide(ref, "first"))

    def rule(self, document, version):
        self.table.versions = (version, 0)
        rules = Rules(parse_policy(document, version), policy_version=version)
        self.rules = SimpleNamespace(current=lambda: rules, fresh=lambda: rules)

    def deliver(self, *messages):
        assert receive_batch([Delivery(str(n), m) for n, m in enumerate(messages)], self) == {}

    def decisions(self):
        return [h.decision for h in self.table.headers.values()]


def test_a_policy_that_did_not_change_asks_for_nothing():
    place, slack = Place(2), Told()
    assert catch_up_policy(place, {"slack": slack}) == 0
    assert not place.sent
    assert not slack.alerts


def test_a_new_policy_is_carried_to_all_images_and_announced_once():
    place, slack = Place(3), Told()
    assert place.decisions() == ["ALLOW"] * 3
    place.rule(BLOCKS, 1)
    assert catch_up_policy(place, {"slack": slack}) == 3
    assert not slack.alerts
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    assert place.decisions() == ["BLOCK"] * 3
    assert not any(queue == "actions" for queue, _ in place.sent)
    for _ in range(3):
        assert catch_up_policy(place, {"slack": slack}) == 0
    assert [a.event for a in slack.alerts] == ["summary"]
    assert "BLOCK: 3 (before: 0)" in slack.alerts[0].notes
    assert "ALLOW: 0 (before: 3)" in slack.alerts[0].notes


def test_a_policy_that_came_with_a_new_bundle_is_carried_to_all_images_once_and_announced_once():
    place, slack = Place(3), Told()
    assert catch_up_policy(place, {"slack": slack}) == 0
    place.rule(BLOCKS, 0)
    assert catch_up_policy(place, {"slack": slack}) == 3
    place.sent.clear()  # taken by functions of the former bundle
    assert catch_up_policy(place, {"slack": slack}) == 3
    assert not slack.alerts
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    assert place.decisions() == ["BLOCK"] * 3
    for _ in range(3):
        assert catch_up_policy(place, {"slack": slack}) == 0
    assert [a.event for a in slack.alerts] == ["summary"]
    assert "BLOCK: 3 (before: 0)" in slack.alerts[0].notes


def test_what_was_lost_on_the_way_is_asked_for_again():
    place = Place(2)
    place.rule(BLOCKS, 1)
    assert catch_up_policy(place, {}) == 2
    place.deliver(place.sent[0][1])
    assert catch_up_policy(place, {}) == 1


def test_a_summary_that_could_not_be_sent_is_sent_by_the_next_run():
    place, slack = Place(1), Told()
    place.rule(BLOCKS, 1)
    catch_up_policy(place, {})
    place.deliver(place.sent[0][1])

    def refuse(alert):
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError):
        catch_up_policy(place, {"slack": SimpleNamespace(name="slack", send=refuse)})
    catch_up_policy(place, {"slack": slack})
    assert len(slack.alerts) == 1


def test_an_image_quietly_decided_is_not_announced_again_by_the_next_scan():
    place = Place(1)
    place.rule(BLOCKS, 1)
    catch_up_policy(place, {})
    place.deliver(place.sent[0][1])
    place.sent.clear()
    (header,) = place.table.headers.values()
    place.deliver(Decide(header.ref, "again"))
    assert not any(queue == "actions" for queue, _ in place.sent)
