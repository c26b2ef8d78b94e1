"""`lazaretto run --once` over folders of payloads: what is read, refused, decided; what the exit code says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chalicelib.cli import app
from chalicelib.local import events as aws_events
from chalicelib.local.demo import demo_registry
from chalicelib.local.demo.demo_registry import Flaw
from tests.local import samples

SHARED = Path(__file__).parents[4] / "shared"
CORPUS, GENERATOR = SHARED / "data" / "corpus", SHARED / "bench" / "generate.py"
IMAGE, UNKNOWN = samples.ref(), samples.ref("team/gone", "f")


def play(folder: Path, *more: str, code: int = 0):
    """The JSON lines of standard output; the last is the summary."""
    result = CliRunner().invoke(app, ["run", "--once", "--from", str(folder), "--json", *more])
    assert result.exit_code == code, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def put(folder: Path, name: str, *payloads: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(p) + "\n" for p in payloads))


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A folder with some of everything, played once."""
    folder = tmp_path_factory.mktemp("payloads")
    scan = demo_registry.basic_scan((Flaw("CVE-2026-1", "CRITICAL", "p", "1"),), samples.SCANNED)
    basic = samples.ref("team/basic", "b")
    named = {"registryId": basic.registry, "repositoryName": basic.repository, "imageId": {"imageDigest": basic.digest}}
    put(folder, "z/responses.jsonl", {"findings": [samples.row(IMAGE, n) for n in range(30)]}, {**named, **scan})
    put(
        folder,
        "a/events.jsonl",
        aws_events.finding_changed(IMAGE, samples.row(IMAGE, 1), samples.SCANNED),
        aws_events.basic_scan_finished(UNKNOWN, [], "COMPLETE", {"HIGH": 1}, samples.SCANNED),
        aws_events.finding_changed(
            samples.ref("team/lost", "e"), samples.row(samples.ref("team/lost", "e")), samples.SCANNED
        ),
    )
    put(
        folder,
        "a/foreign.json",
        {"findings": [samples.row(IMAGE) | {"resources": [{"type": "AWS_EC2_INSTANCE", "id": "i"}]}]},
    )
    put(folder, "a/poison.json", {"detail-type": "ECR Image Scan", "source": "aws.ecr", "detail": {}})
    (folder / "a" / "broken.json").write_text("{")
    (folder / "README.md").write_text("not a payload")
    *lines, summary = play(folder)
    return {line["image"].rpartition("/")[2].partition("@")[0]: line for line in lines}, summary


def test_payloads_are_counted_and_refusals_say_why(played):
    _, summary = played
    assert summary["payloads"] == {"total": 8, "read": 6, "responses": 3, "events": 3, "ignored": 1, "refused": 2}
    said = {refusal["file"]: (refusal["path"], refusal["reason"]) for refusal in summary["refused"]}
    assert said["a/poison.json"] == ("$.account", "missing")
    assert said["a/broken.json"][1].startswith("no JSON")
    assert summary["files_skipped"] == ["README.md"]


def test_responses_are_held_before_events_are_delivered(played):
    images, summary = played
    assert images["api"]["scan_state"] == "COMPLETE"
    assert images["api"]["open"]["HIGH"] == 30
    assert images["basic"]["source"] == "BASIC"
    assert summary["findings"]["total"] == 31


def test_an_image_that_cannot_be_looked_up_ends_unavailable_and_is_listed(played):
    images, summary = played
    assert {images["gone"]["scan_state"], images["lost"]["scan_state"]} == {"UNAVAILABLE"}
    assert {row["image"] for row in summary["unavailable"]} == {str(UNKNOWN), str(samples.ref("team/lost", "e"))}
    assert all(row["reason"] for row in summary["unavailable"])
    assert images["gone"]["open"] is None


def test_verdicts_are_counted_and_everything_was_handled(played):
    images, summary = played
    assert summary["images"] == len(images) == 4
    assert sum(summary["verdicts"].values()) == 4
    assert images["gone"]["decision"] == "PENDING"
    assert (summary["finished"], summary["dead_letters"]) == (True, 0)
    assert summary["alerts"]["slack"] >= 1


def test_a_response_without_a_region_lies_where_an_event_places_its_image(tmp_path):
    there = samples.ref(region="ap-south-1")
    named = {"registryId": there.registry, "repositoryName": there.repository, "imageId": {"imageDigest": there.digest}}
    put(tmp_path, "scan.json", {**named, **demo_registry.basic_scan((), samples.SCANNED)})
    put(tmp_path, "event.json", aws_events.basic_scan_finished(there, [], "COMPLETE", {}, samples.SCANNED))
    line, summary = play(tmp_path)
    assert (line["image"], line["scan_state"], summary["images"]) == (str(there), "COMPLETE", 1)


def test_an_empty_folder_is_an_empty_summary(tmp_path):
    (summary,) = play(tmp_path)
    assert (summary["payloads"]["total"], summary["images"], summary["finished"]) == (0, 0, True)


def test_a_folder_that_is_not_there_is_bad_input(tmp_path):
    result = CliRunner().invoke(app, ["run", "--once", "--from", str(tmp_path / "none")])
    assert result.exit_code == 2
    assert "no such folder" in result.stderr


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(app, ["run", "--port", "0", "--aws-port", str(taken.getsockname()[1])])
    assert result.exit_code == 3
    assert "127.0.0.1" in result.stderr


def test_the_environment_of_the_caller_is_left_alone(tmp_path):
    before = dict(os.environ)
    play(tmp_path)
    assert dict(os.environ) == before


def test_the_corpus_is_played_without_a_crash():
    if not CORPUS.is_dir():
        pytest.skip("corpus absent: ../shared/data/corpus")
    *_, summary = play(CORPUS)
    assert summary["payloads"]["total"] >= 68
    assert summary["payloads"]["read"] + summary["payloads"]["refused"] == summary["payloads"]["total"]
    assert (summary["finished"], summary["dead_letters"]) == (True, 0)


def test_a_generated_folder_ends_as_its_generator_expects(tmp_path):
    if not GENERATOR.is_file():
        pytest.skip("generator absent: ../shared/bench/generate.py")
    made = [str(tmp_path), "--images", "4", "--findings", "40", "--shuffle", "--duplicate", "0.2", "--variety"]
    made += [
        "--ties",
        "0.5",
        "--event-dates",
        "mixed",
        "--only",
        "pages",
        "images",
        "events",
        "scan_events",
        "expected",
    ]
    subprocess.run([sys.executable, str(GENERATOR), *made], check=True, capture_output=True, timeout=60)
    expected = [json.loads(line) for line in (tmp_path / "expected.jsonl").read_text().splitlines()]
    (tmp_path / "expected.jsonl").unlink()
    (tmp_path / "summary.json").unlink()
    *lines, summary = play(tmp_path)
    found = {line["image"].partition("@")[2]: line for line in lines}
    assert summary["payloads"]["refused"] == 0
    assert summary["findings"]["open"] == sum(image["open"] for image in expected)
    for image in expected:
        said = {s: n for s, n in found[image["digest"]]["open"].items() if n}
        wanted = {("UNKNOWN" if s == "UNTRIAGED" else s): n for s, n in image["open_by_severity"].items()}
        assert said == wanted
