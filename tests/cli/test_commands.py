"""What holds for every command of `lazaretto`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from chalicelib import __version__
from chalicelib.cli import app
from chalicelib.domain.alerts import verdict_alert
from chalicelib.domain.alerts.alert import AlertDetails
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import PendingAlert
from chalicelib.domain.images.finding import Finding, Package, Severity
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import Policy

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
READING = ("findings", "image", "cve", "gate")


def test_the_commands_of_the_contract_are_there() -> None:
    assert {"parse", "run", "replay", "policy", *READING} <= set(COMMANDS)


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"lazaretto {__version__}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert COMMANDS[name].help


@pytest.mark.parametrize("name", READING)
def test_reading_commands_speak_json_and_take_an_address(name: str) -> None:
    options = {o for p in COMMANDS[name].params for o in p.opts}
    assert {"--json", "--url", "--sign"} <= options


def test_an_unknown_option_is_bad_input() -> None:
    assert CliRunner().invoke(app, ["findings", "--severty", "HIGH"]).exit_code == 2


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DONE = ("Quarantined (archive) at 2026-03-01 11:30:00 UTC: it cannot be pulled.",)


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("rule", ["mine", "pending", "unscanned", "stale", "child"])
@pytest.mark.parametrize("registry", [(), DONE])
def test_alerts_offer_only_commands_that_exist(decision: Decision, rule: str, registry: tuple[str, ...]) -> None:
    ref = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
    said = []
    for fixed in (None, "2"):
        found = Finding(
            "CVE-1", Severity.HIGH, "HIGH", Source.BASIC, "f", packages=(Package("p", "1", fixed_version=fixed),)
        )
        verdict = Verdict(decision, (Reason(rule, decision, count=1, vulnerability_ids=("CVE-1",)),), 1, NOW)
        header = Header(ref=ref, exists=True, verdict=verdict)
        effect = PendingAlert(1, NOW, decision)
        details = AlertDetails(findings=[found], registry=registry)
        said += verdict_alert.compose_verdict_alert(header, effect, details, Policy(1), NOW).what_to_do
    said += verdict_alert.compose_summary("x", {}, {decision: 1}, [(ref, decision, None)], NOW).what_to_do
    assert {name for line in said for name in re.findall(r"lazaretto ([a-z-]+)", line)} <= set(COMMANDS)


def test_the_texts_of_advice_name_no_command_that_does_not_exist() -> None:
    text = Path(verdict_alert.__file__).read_text()
    named = re.findall(r"[\"'`]lazaretto ([a-z-]+)", text) + re.findall(r'_command\("([a-z-]+)"', text)
    assert set(named) <= set(COMMANDS)
