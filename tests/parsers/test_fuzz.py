"""Ten thousand mutated payloads: each is read, or refused with the path of what is wrong; nothing else ever happens."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.cli.local.parse import parse_payload
from chalicelib.domain.images.image import DIGEST, REPOSITORY
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.payload import read_payloads
from tests.parsers.composed import every_kind

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "data" / "corpus"
PAYLOADS = 10_000
LONGEST_SEED = 20_000

DEEP: Any = "x"
for _ in range(150):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 3.5, -0.0, 1e300, 2**53 + 1, 2**63, 2**70, 10**400, "", " ", "x", "N/A",
    "NotAvailable", "\x00", "ä" * 50, "🙂", "x" * 100_000, [], {}, [None], [[]], {"": None}, {"a": {"b": []}}, DEEP,
    ["x"], {"x": -1}, "2026-02-30T10:00:00Z", "Sun Feb 30 10:00:00.000 UTC 2026", "Dec 3, 2021, 16:02:30 PM",
    "2026-03-01T25:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", 253402300800, -62135596801,
    1767225600000, "1767225600", "sha256:" + "0" * 64, "sha256:" + "0" * 60, "sha256:" + "G" * 64, "111122223333",
    "١٢٣٤٥٦٧٨٩٠١٢", "12345678901", "eu-west-1", "us-gov-west-1", "eu-west-1\n", "Team/API", "team//api", "../etc",
    "a/" * 200 + "a", "COMPLETE", "ACTIVE", "arn:aws:ecr:eu-west-1:111122223333:repository/team/api",
    "arn:aws:ecr:::repository//sha256:", "AWS_ECR_CONTAINER_IMAGE", "AWS_EC2_INSTANCE",
]  # fmt: skip
MUTATIONS = ("drop", "replace", "swap", "wrap", "repeat", "rename")


def seeds() -> list[Any]:
    files = [*sorted((ROOT / "events").glob("*.json")), *sorted(CORPUS.rglob("*.json"))]
    texts = [file.read_bytes() for file in files]
    found = every_kind() + [json.loads(text) for text in texts if len(text) < LONGEST_SEED]
    # What is refused as it stands (half of the corpus) is mutated too, but less often.
    return found + 3 * [payload for payload in found if isinstance(outcome(payload), list)]


def outcome(payload: Any) -> list[dict[str, Any]] | str:
    """The lines, checked for what must hold of any; or the path of the refusal."""
    try:
        lines = parse_payload(payload)
    except RefusedPayloadError as error:
        return refusal(error)
    assert lines
    json.dumps(lines, allow_nan=False)
    for line in lines:
        check(line, lines)
    return lines


def refusal(error: RefusedPayloadError) -> str:
    assert error.path.startswith("$")
    assert error.reason
    error.reason.encode()
    return error.path


def check(line: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    if image := line.get("image"):
        assert DIGEST.fullmatch(image["digest"])
        assert REPOSITORY.fullmatch(image["repository"])
        assert len(image["registry"]) == 12
    if line.get("clean"):
        assert line["scan_state"] == "COMPLETE"
        opened = [other for other in lines if other["kind"] == "finding" and other["status"] == "OPEN"]
        assert not opened or line["kind"] == "image"


SEEDS = seeds()


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    payload = copy.deepcopy(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(walk(payload))
        if not places:
            break
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        mutate(holder, key, draw(st.sampled_from(MUTATIONS)), draw(st.integers(0, len(VALUES) - 1)))
    return payload


@settings(
    max_examples=PAYLOADS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(mutated())
def test_a_mutated_payload_is_read_or_refused_with_its_path(payload: Any) -> None:
    from_text, from_value = outcome(json.dumps(payload).encode()), outcome(payload)
    # Refused in one form only: a number no boto3 response holds, or a text where JSON gives up earlier.
    assert isinstance(from_text, str) or isinstance(from_value, str) or from_text == from_value


@settings(max_examples=300, deadline=None, database=None)
@given(st.sampled_from(SEEDS), st.integers(0, 1 << 20), st.binary(max_size=3), st.integers(0, 40))
def test_a_broken_text_is_read_or_refused_with_its_path(seed: Any, at: int, put: bytes, cut: int) -> None:
    text = json.dumps(seed).encode()
    at %= len(text)
    for part in read_payloads(text[:at] + put + text[at + cut :]):
        outcome(part)


def walk(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from walk(value[key])


def mutate(holder: Any, key: Any, how: str, number: int) -> None:
    value = VALUES[number]
    match how:
        case "drop":
            del holder[key]
        case "replace":
            holder[key] = copy.deepcopy(value)
        case "swap":
            other = list(holder)[number % len(holder)] if isinstance(holder, dict) else number % len(holder)
            holder[key], holder[other] = holder[other], holder[key]
        case "wrap":
            holder[key] = [holder[key]] if number % 2 else {"value": holder[key]}
        case "repeat" if isinstance(holder, list):
            holder.extend(copy.deepcopy(holder[key]) for _ in range(number))
        case "rename" if isinstance(holder, dict):
            holder[str(value)[:40]] = holder.pop(key)
