"""Undo by action id over the API, on the whole local stack: equal words, undos of undos, what retention archived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.ordering import seen
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
HOME = Repository(ACCOUNT, REGION, "team/api")
POLICY = """
version: 1
mode: enforce
quarantine: {when_running: proceed}
retention: [{repository: team/api, keep: {newest: 1}, action: archive, max_share: 1}]
notify: []
"""


class Registry:
    def __init__(self, played: Played) -> None:
        self.played = played
        apply_policy(POLICY, "oncall", played.context)
        played.ecr.create_repository(repositoryName=HOME.name)
        pusher = Pusher(played.ecr, HOME)
        self.image = pusher.image([b"old"], ["1.0"])
        played.settle()
        played.clock.move(timedelta(hours=1))
        self.newest = pusher.image([b"new"], ["1.1"])
        played.settle()

    def post(self, path: str, expected: int = 202, **body: Any) -> Any:
        self.played.clock.move(timedelta(minutes=1))
        with Client(self.played.stack.app) as client:
            headers = {"Content-Type": "application/json"} | (seen(client, body) if "digest" in body else {})
            answer = client.http.post(path, headers=headers, body=json.dumps({"reason": "a drill", **body}))
        assert answer.status_code == expected, answer.body
        self.played.settle()
        self.played.clock.move(timedelta(minutes=30))  # ECR restores in its own time
        self.played.settle()
        self.played.run_clock()
        return answer.json_body

    def order(self, kind: str) -> str:
        """Returns the action id of the order."""
        how = {"allow_unmatched": True} if kind == "release" else {}
        self.post(f"/v1/{kind}", repository=HOME.name, digest=self.image.digest, **how)
        return self.last(f"ORDER_{kind.upper()}")

    def undo(self, action: str, expected: int = 202) -> Any:
        return self.post("/v1/undo", expected, action_id=action)

    def last(self, kind: str) -> str:
        rows = self.played.context.queries.actions(self.image)
        return action_id(next(row.record for row in reversed(rows) if row.record.kind == kind))

    def is_archived(self, image: ImageRef | None = None) -> bool:
        found = ecr_of(HOME).get(HOME.name, {"imageDigest": (image or self.image).digest})
        return str(found.status) != "ACTIVE"

    def standing(self) -> ActionType | None:
        order = self.played.stack.headers([self.image])[self.image].header.order
        return None if order is None else order.kind

    def retain(self) -> str:
        for sweep in (Sweep.REPLICATION, Sweep.RETENTION):
            self.played.context.outbox.send("sweeps", SweepRepository(sweep, HOME, self.played.clock.now()))
            self.played.settle()
        assert self.is_archived()
        return self.last("ARCHIVE")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        yield Registry(Played(stack))


def test_an_order_is_undone_by_its_id_and_not_by_words_that_another_has_as_well(registry: Registry) -> None:
    first = registry.order("quarantine")
    registry.undo(first)
    assert not registry.is_archived()
    second = registry.order("quarantine")
    assert registry.is_archived()
    assert "another order stands" in registry.undo(first, 409)["detail"]
    assert registry.is_archived()
    registry.undo(second)
    assert not registry.is_archived()


def test_an_undo_of_an_order_is_undone_and_that_as_well(registry: Registry) -> None:
    action = registry.order("quarantine")
    for archived in (False, True, False, True):
        registry.undo(action)
        assert registry.is_archived() is archived
        action = registry.last("ORDER_QUARANTINE" if archived else "ORDER_TAKEN_BACK")


def test_the_undo_of_an_undone_act_brings_back_the_order_that_stood_before(registry: Registry) -> None:
    registry.order("quarantine")
    registry.undo(registry.last("QUARANTINE"))
    assert (registry.is_archived(), registry.standing()) == (False, ActionType.RELEASE)
    registry.undo(registry.last("ORDER_RELEASE"))
    assert (registry.is_archived(), registry.standing()) == (True, ActionType.QUARANTINE)


def test_an_undo_after_which_another_order_was_given_is_not_undone(registry: Registry) -> None:
    registry.undo(registry.order("quarantine"))
    taken_back = registry.last("ORDER_TAKEN_BACK")
    registry.order("release")
    assert "is not the last word" in registry.undo(taken_back, 409)["detail"]
    assert registry.standing() is ActionType.RELEASE


def test_what_retention_archived_is_undone_by_its_action_id(registry: Registry) -> None:
    archived = registry.retain()
    registry.undo(archived)
    assert not registry.is_archived()
    assert registry.standing() is ActionType.RELEASE
    assert "is over" in registry.undo(archived, 409)["detail"]


def test_what_retention_archived_is_released_and_stays_while_the_release_stands(registry: Registry) -> None:
    registry.retain()
    registry.order("release")
    assert not registry.is_archived()
    registry.played.context.outbox.send("sweeps", SweepRepository(Sweep.RETENTION, HOME, registry.played.clock.now()))
    registry.played.settle()
    assert not registry.is_archived()


def test_what_another_party_archived_is_not_restored(registry: Registry) -> None:
    image: Any = {"imageDigest": registry.image.digest}
    registry.played.ecr.update_image_storage_class(
        repositoryName=HOME.name, imageId=image, targetStorageClass="ARCHIVE"
    )
    registry.played.settle()
    registry.order("release")
    assert registry.is_archived()
