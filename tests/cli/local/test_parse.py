from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from chalicelib.cli.local.parse import parse, parse_command

EVENTS = Path(__file__).parents[3] / "events"
PUSH = EVENTS / "ecr-image-action-push.json"


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_payload_is_read_and_the_answer_is_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse([str(PUSH)]) == 0
    (line,) = said(capsys)
    assert (line["kind"], line["action"], line["image"]["repository"]) == ("image_action", "PUSH", "team/api")


def test_every_sample_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in EVENTS.glob("*.json")]
    assert parse(files) == 0
    assert len(said(capsys)) >= len(files)


def test_a_refused_file_is_one_line_and_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(PUSH.read_text().replace("sha256:", "sha256:zz"))
    assert parse([str(bad)]) == 2
    (line,) = said(capsys)
    assert line == {
        "kind": "refused",
        "path": "$.detail.image-digest",
        "reason": line["reason"],
        "index": None,
    }


def test_each_element_stands_alone_and_any_refusal_makes_it_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = tmp_path / "many.json"
    many.write_text(f"[{PUSH.read_text()}, {{}}, {PUSH.read_text()}]")
    assert parse([str(many)]) == 2
    assert [(line["kind"], line.get("index")) for line in said(capsys)] == [
        ("image_action", None),
        ("refused", 1),
        ("image_action", None),
    ]


def test_json_lines_from_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    line = json.dumps(json.loads(PUSH.read_text()))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{line}\n{line}\n".encode())))
    assert parse(["-"]) == 0
    assert len(said(capsys)) == 2


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse([str(tmp_path / "absent.json"), str(tmp_path), str(PUSH)]) == 2
    lines = said(capsys)
    assert [line["kind"] for line in lines] == ["refused", "refused", "image_action"]
    assert lines[0]["file"].endswith("absent.json")


def test_what_a_terminal_would_obey_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = tmp_path / "hostile.json"
    payload = json.loads(PUSH.read_text())
    payload["detail"]["artifact-media-type"] = "\x1b[2J\u009b31m\u202e"
    hostile.write_text(json.dumps(payload))
    assert parse([str(hostile)]) == 0
    assert capsys.readouterr().out.isascii()


def test_the_command_ends_with_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        parse_command([str(PUSH)])
    assert ended.value.exit_code == 0
    assert said(capsys)
