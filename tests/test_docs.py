"""What exists is in the docs: settings, parameters, queues, routes, commands, policy keys, make targets, samples."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from chalicelib.domain.channels.channel import CHANNELS, WITH_SECRET
from chalicelib.domain.policy.policy import policy_schema

ROOT = Path(__file__).parent.parent
TEMPLATE = json.loads((ROOT / ".chalice/resources.json").read_text())
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "events/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
SECTIONS = ("## Status", "## Context", "## Decision", "## Consequences")


def page(name: str) -> str:
    path = ROOT / name
    assert path.exists(), f"{name} is missing"
    return path.read_text()


def everything() -> str:
    return "\n".join(path.read_text() for path in PAGES if path.exists())


def settings() -> set[str]:
    """Every variable that settings.py reads: the first argument of a method of its reader; and those of channels."""
    calls = [n for n in ast.walk(ast.parse(page("chalicelib/settings.py"))) if isinstance(n, ast.Call)]
    of_reader = [
        c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr in ("text", "required", "number")
    ]
    literals = [c.args[0] for c in of_reader if c.args and isinstance(c.args[0], ast.Constant)]
    of_channels = {k.setting for k in CHANNELS} | {k.local_setting for k in WITH_SECRET}
    return {f"LAZARETTO_{name}" for name in {constant.value for constant in literals} | of_channels}


def test_every_setting_is_explained_in_operations() -> None:
    operations = page("docs/operations.md")
    assert settings(), "no setting found: has settings.py changed its form?"
    assert not {name for name in settings() if f"`{name}`" not in operations}


def test_operations_explain_no_setting_that_is_gone() -> None:
    named = set(re.findall(r"`(LAZARETTO_[A-Z_]+)`", page("docs/operations.md")))
    used_elsewhere = {name for name in named if name in everywhere_in_code()}
    assert named <= settings() | used_elsewhere


def everywhere_in_code() -> str:
    return "".join(p.read_text() for p in [ROOT / "app.py", *(ROOT / "chalicelib").rglob("*.py")])


@pytest.mark.parametrize("parameter", TEMPLATE["Parameters"])
def test_every_parameter_of_the_template_is_explained_in_operations(parameter: str) -> None:
    assert f"`{parameter}`" in page("docs/operations.md")


@pytest.mark.parametrize(
    "resource", [n for n, r in TEMPLATE["Resources"].items() if r.get("Type") == "AWS::SQS::Queue"]
)
def test_every_queue_is_explained_in_operations(resource: str) -> None:
    name = TEMPLATE["Resources"][resource]["Properties"]["QueueName"]["Fn::Sub"].replace("${Stage}", "<stage>")
    assert f"`{name}`" in page("docs/operations.md")


@pytest.mark.parametrize(
    "function", json.loads((ROOT / ".chalice/config.json").read_text())["stages"]["dev"]["lambda_functions"]
)
def test_every_function_is_explained_in_operations(function: str) -> None:
    assert f"`{function}`" in page("docs/operations.md")


def test_every_route_is_in_the_docs() -> None:
    routes = importlib.import_module("app").app.routes
    assert len(routes) > 5
    docs = everything()
    missing = {f"{method} {path}" for path, methods in routes.items() for method in methods if not _told(path, docs)}
    assert not missing


def _told(path: str, docs: str) -> bool:
    return path.replace("{vulnerability_id}", "{id}") in docs or path in docs


def test_every_command_is_in_the_docs() -> None:
    docs = everything()
    names = {" ".join(way) for way in commands(click_command(), ("lazaretto",))}
    assert len(names) > 3
    assert not {name for name in names if name not in docs}


def click_command() -> click.Command:
    return typer.main.get_command(importlib.import_module("chalicelib.cli").app)


def commands(command: Any, way: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not hasattr(command, "commands"):
        yield way
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*way, name))


def policy_keys() -> set[str]:
    parts = [policy_schema(), *policy_schema().get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}


def test_every_key_of_the_policy_is_explained() -> None:
    text = page("docs/policy.md")
    assert len(policy_keys()) > 30
    assert not {key for key in policy_keys() if not re.search(rf"\b{re.escape(key)}\b", text)}


def test_every_target_of_make_is_in_the_docs() -> None:
    targets = re.findall(r"^([a-z]+):", page("Makefile"), re.M)
    docs = page("README.md") + page("CONTRIBUTING.md")
    assert not {t for t in targets if f"make {t}" not in docs} - {"help"}


def test_every_sample_is_in_the_table_of_samples() -> None:
    table = page("events/README.md")
    assert not [p.name for p in (ROOT / "events").glob("*.json") if p.name not in table]


@pytest.mark.parametrize("path", [pytest.param(p, id=p.name) for p in sorted((ROOT / "docs/adr").glob("*.md"))])
def test_a_decision_says_why_and_what_follows(path: Path) -> None:
    text = path.read_text()
    assert re.match(r"\d{3}-[a-z0-9-]+\.md$", path.name)
    assert text.startswith(f"# {int(path.name[:3])}. ")
    assert [s for s in SECTIONS if s in text] == list(SECTIONS)
    assert len(text.splitlines()) <= 60, "one page"


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(p.name[:3]) for p in (ROOT / "docs/adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_links_lead_somewhere(path: Path) -> None:
    assert path.exists()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/glossary.md"])
def test_every_file_that_a_guide_to_the_code_names_exists(name: str) -> None:
    named = set(re.findall(r"`((?:[\w.]+/)+[\w.]+|app\.py)/?`", page(name)))
    assert len(named) > 10, "no file is named any more: are they written in another form?"
    bases = [ROOT, ROOT / "chalicelib"]
    assert not {path for path in named if not any((base / path).exists() for base in bases)}


def test_architecture_names_every_package() -> None:
    packages = [path.parent for path in (ROOT / "chalicelib").glob("*/*/__init__.py")]
    table = page("docs/architecture.md").partition("## Layers and packages")[2].partition("\n## ")[0]
    rows = {name: row for row in table.splitlines() for name in re.findall(r"^\| `chalicelib/(\w+)` \|", row)}
    assert not {f"{p.parent.name}/{p.name}" for p in packages if f"`{p.name}`" not in rows.get(p.parent.name, "")}


def test_the_glossary_is_found_from_the_readme_and_the_architecture() -> None:
    assert "docs/glossary.md" in page("README.md")
    assert "(glossary.md)" in page("docs/architecture.md")
