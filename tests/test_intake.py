import json

from chalicelib.domain.events.message import Refresh
from chalicelib.intake import take_in

DIGEST = "sha256:" + "a" * 64
PUSH = {
    "version": "0",
    "id": "6f0c1f0e-0000-4000-8000-000000000001",
    "detail-type": "ECR Image Action",
    "source": "aws.ecr",
    "account": "111122223333",
    "time": "2026-03-01T10:00:00Z",
    "region": "eu-west-1",
    "resources": [],
    "detail": {
        "action-type": "PUSH",
        "result": "SUCCESS",
        "repository-name": "team/api",
        "image-tag": "1.4.2",
        "image-digest": DIGEST,
    },
}
LOOK = {
    "type": "look",
    "ref": {"registry": "111122223333", "region": "eu-west-1", "repository": "team/api", "digest": DIGEST},
    "due_at": "2026-03-01T10:01:00Z",
    "attempt": 3,
}


def record(message_id, body, receives=1):
    text = body if isinstance(body, str) else json.dumps(body)
    return {"messageId": message_id, "body": text, "attributes": {"ApproximateReceiveCount": str(receives)}}


def keep(into):
    def handle(deliveries):
        into.extend(deliveries)
        return {}

    return handle


def test_events_and_messages_of_our_own_are_read_with_their_receives_and_attempts():
    seen = []
    answer = take_in([record("a", PUSH, receives=2), record("b", LOOK)], keep(seen))
    assert answer == {"batchItemFailures": []}
    assert [(d.message_id, d.receives, d.attempt) for d in seen] == [("a", 2, 0), ("b", 1, 3)]
    assert seen[0].raw == PUSH
    assert isinstance(seen[1].body, Refresh)
    assert not seen[0].fresh
    assert not seen[1].fresh


def test_an_event_put_back_by_us_keeps_its_attempt_and_its_mark():
    seen = []
    take_in([record("a", {"type": "again", "event": PUSH, "attempt": 4, "redriven": True})], keep(seen))
    assert (seen[0].attempt, seen[0].redriven, seen[0].body.ref.repository) == (4, True, "team/api")


def test_a_poison_message_fails_alone():
    seen = []
    poison = [record("p1", "no json {"), record("p2", {"type": "nonsense"}), record("p3", "[1]")]
    poison.append(record("p4", PUSH | {"detail": PUSH["detail"] | {"image-digest": "sha256:short"}}))
    answer = take_in([*poison, record("good", PUSH)], keep(seen))
    assert {f["itemIdentifier"] for f in answer["batchItemFailures"]} == {"p1", "p2", "p3", "p4"}
    assert [d.message_id for d in seen] == ["good"]


def test_what_is_not_about_an_ecr_image_is_done_with():
    seen = []
    ec2 = PUSH | {"source": "aws.inspector2", "detail-type": "Inspector2 Scan"}
    ec2["detail"] = {"scan-status": "INITIAL_SCAN_COMPLETE", "instance-id": "i-0123456789abcdef0"}
    assert take_in([record("a", ec2)], keep(seen)) == {"batchItemFailures": []}
    assert seen == []


def test_what_the_use_case_could_not_do_stays_in_the_queue():
    answer = take_in([record("a", PUSH), record("b", PUSH)], lambda ds: {"b": RuntimeError("defect")})
    assert answer == {"batchItemFailures": [{"itemIdentifier": "b"}]}
