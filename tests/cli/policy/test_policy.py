"""`lazaretto policy` as a person uses it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from chalicelib.adapters.stores.policy_file import DEFAULT_POLICY, default_policy
from chalicelib.cli.policy.policy import policy_app
from chalicelib.domain.policy.policy import parse_policy

RUN = CliRunner()
BAD = "version: 1\nmod: observe\n"


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = json.dumps({"version": 3, "policy": {"version": 1, "mode": "enforce"}})
        body = said.encode() if self.path == "/v1/policy" else b"oops"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_check_says_that_a_good_policy_is_good() -> None:
    result = RUN.invoke(policy_app, ["check", str(DEFAULT_POLICY)])
    assert (result.exit_code, "good: mode observe, 7 rules" in result.stdout) == (0, True)
    said = json.loads(RUN.invoke(policy_app, ["check", str(DEFAULT_POLICY), "--json"]).stdout)
    assert (said["ok"], said["rules"]) == (True, 7)


def test_check_warns_of_what_is_hardly_meant_and_is_good_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("version: 1\nstale: {decision: allow}\n")
    result = RUN.invoke(policy_app, ["check", str(file)])
    assert result.exit_code == 0
    assert result.stderr == f"{file}: warning: stale.decision: a lapsed scan will pass as clean\n"
    said = json.loads(RUN.invoke(policy_app, ["check", str(file), "--json"]).stdout)
    assert said["warnings"] == [{"path": "stale.decision", "reason": "a lapsed scan will pass as clean"}]


def test_check_refuses_with_2_and_says_file_line_and_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(BAD)
    result = RUN.invoke(policy_app, ["check", str(file)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{file}:2: mod: unknown key `mod`; did you mean `mode`?\n"


def test_check_reads_standard_input_and_speaks_json() -> None:
    result = RUN.invoke(policy_app, ["check", "-", "--json"], input=BAD)
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "ok": False,
        "file": "-",
        "line": 2,
        "path": "mod",
        "reason": "unknown key `mod`; did you mean `mode`?",
    }


def test_check_of_a_missing_file_is_bad_input_and_hostile_keys_stay_inert() -> None:
    assert RUN.invoke(policy_app, ["check", "/absent.yaml"]).exit_code == 2
    result = RUN.invoke(policy_app, ["check", "-"], input='version: 1\n"\\e[31m": 1\n')
    assert (result.exit_code, "\x1b" in result.stderr) == (2, False)


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1"])
def test_show_prints_the_built_in_default_where_it_is_asked_for_and_asks_no_api(url: str | None) -> None:
    result = RUN.invoke(policy_app, ["show", "--default"], env={"LAZARETTO_URL": url})
    assert result.exit_code == 0
    assert result.stdout.startswith("# the built-in default\n")
    assert parse_policy(yaml.safe_load(result.stdout)) == default_policy()


def test_show_prints_the_policy_in_force_at_a_url(url: str) -> None:
    result = RUN.invoke(policy_app, ["show", "--json"], env={"LAZARETTO_URL": url})
    assert json.loads(result.stdout) == {"version": 1, "mode": "enforce"}


def test_show_says_3_when_nobody_answers_sense_and_2_for_no_address(url: str) -> None:
    assert RUN.invoke(policy_app, ["show", "--url", url + "/elsewhere"]).exit_code == 3
    assert RUN.invoke(policy_app, ["show", "--url", "http://127.0.0.1:1"]).exit_code == 3
    assert RUN.invoke(policy_app, ["show", "--url", "file:///etc"]).exit_code == 2


def test_schema_prints_a_json_schema() -> None:
    assert json.loads(RUN.invoke(policy_app, ["schema"]).stdout)["title"] == "Lazaretto policy"
