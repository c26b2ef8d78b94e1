"""Every audit record has a kind that the audit log can be asked for, and that the documentation names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.headers.pending_action import ActionType

ROOT = Path(__file__).parents[3]


def test_every_recorded_kind_is_one_of_the_enum() -> None:
    strangers = [
        f"{path.relative_to(ROOT)}:{kind.lineno}: {ast.unparse(kind)}"
        for path in sorted((ROOT / "chalicelib/services").rglob("*.py"))
        for function, kind in recorded_kinds(ast.parse(path.read_text()))
        if not (names_the_enum(kind) or ast.unparse(kind) in typed_by_the_enum(function))
    ]
    assert strangers == []


def test_the_rule_finds_a_kind_outside_the_enum() -> None:
    source = """
def own(ref): return ActionRecord(ref=ref, kind="UNREACHABLE")
def given(ref, kind: str): return ActionRecord(ref=ref, kind=kind)
def typed(ref, kind: ActionKind): return ActionRecord(ref=ref, kind=kind)
def named(ref): return ActionRecord(ref=ref, kind=ActionKind.WAIVE)
"""
    found = [
        names_the_enum(kind) or ast.unparse(kind) in typed_by_the_enum(function)
        for function, kind in recorded_kinds(ast.parse(source))
    ]
    assert found == [False, False, True, True]


def test_every_act_and_message_has_its_kind() -> None:
    assert {kind.value for kind in ActionType} <= {kind.value for kind in ActionKind}
    acts = [kind for kind in ActionType if kind.acts]
    assert {f"{act}_FAILED" for act in acts} | {f"WOULD_{act}" for act in acts} <= {kind.value for kind in ActionKind}


def test_the_documentation_names_every_kind() -> None:
    section = (ROOT / "docs/api.md").read_text().split("### `GET /v1/audit`\n", 1)[1]
    (row,) = (line for line in section.splitlines() if line.startswith("| `kind` |"))
    derived = {kind for kind in ActionKind if kind.startswith("WOULD_") or f"{kind}".endswith("_FAILED")}
    spelled_out = {ActionKind.PULL_FAILED, ActionKind.REPLICATION_FAILED, ActionKind.RETENTION_FAILED}
    assert [kind for kind in ActionKind if kind not in derived - spelled_out and f"`{kind}`" not in row] == []


def recorded_kinds(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, ast.expr]]:
    """The `kind` of each `ActionRecord(…)`, with the function that makes it."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            if ast.unparse(call.func) == "ActionRecord":
                yield from ((function, word.value) for word in call.keywords if word.arg == "kind")


def names_the_enum(kind: ast.expr) -> bool:
    return ast.unparse(kind).startswith(("ActionKind.", "ActionKind("))


def typed_by_the_enum(function: ast.FunctionDef) -> set[str]:
    """The parameters that are declared to be of the enum, and the names that are given one of its members."""
    parameters = {a.arg for a in function.args.args if a.annotation and ast.unparse(a.annotation) == "ActionKind"}
    assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    return parameters | {ast.unparse(node.targets[0]) for node in assigned if names_the_enum(node.value)}
