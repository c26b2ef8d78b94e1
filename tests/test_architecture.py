"""The arrows of the house, read from the imports of every module:

app, api, cli -> bootstrap -> adapters -> parsers -> domain; services -> domain; only the command line knows local/.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "chalicelib"
CORE = {"domain", "errors"}
INNER = {*CORE, "adapters", "services", "parsers", "exports", "settings", "observability"}
MAY_IMPORT = {
    "errors": set(),
    "domain": CORE,
    "exports": {*CORE, "exports"},
    "parsers": {*CORE, "parsers"},
    "services": {*CORE, "services"},
    "settings": {"domain", "errors"},
    "observability": {*CORE, "settings"},
    "adapters": {*CORE, "adapters", "parsers", "settings", "services.ports", "services.sweep_ports", "observability"},
    "bootstrap": INNER,
    "intake": {*CORE, "parsers", "observability"},
    "api": {*CORE, "api", "bootstrap", "adapters", "services", "settings", "observability", "exports"},
    "app": {*CORE, "api", "bootstrap", "intake", "services", "settings", "observability"},
    "local": {*INNER, "local", "api", "bootstrap", "intake"},
    "cli": {*INNER, "cli", "local", "api", "bootstrap", "intake"},
}
OUTSIDE = {
    "domain": {"msgspec"},
    "errors": set(),
    "parsers": {"msgspec", "packageurl"},
    "services": {"msgspec"},
    "settings": {"msgspec"},
    "exports": {"msgspec", "packageurl", "cyclonedx"},
}
"""What these may import beyond the standard library; whoever is not named may import anything but the I/O below."""
TALKS_TO_THE_WORLD = {"boto3", "botocore", "slack_sdk", "urllib", "urllib3", "http", "requests", "socket"}
MAY_TALK = {"adapters", "local", "cli"}
PURE_PARTS = {"urllib.parse", "http.HTTPStatus"}
NO_CLOCK_NOR_ENVIRONMENT = {"os", "time", "random", "secrets", "pathlib", "subprocess", "logging"}
READS_THE_CLOCK = {"now", "utcnow", "today"}


def modules() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / PACKAGE).rglob("*.py"))]


MODULES = [pytest.param(p, id=str(p.relative_to(ROOT))) for p in modules() if p.exists()]


def layer(path: Path) -> str:
    """The package, or the module where it lies at the top: `domain`, `settings`, `app`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if len(parts) == 1 else parts[1]


def imports(path: Path) -> Iterator[str]:
    """Dotted names, `from a.b import c` as `a.b.c`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def only_for_types(path: Path) -> set[str]:
    """Names imported below `if TYPE_CHECKING:`: they do not exist at run time."""
    blocks = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.If) and _is_type_checking(n.test)]
    inside = [node for block in blocks for node in ast.walk(block) if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{alias.name}" for node in inside for alias in node.names}


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("path", MODULES)
def test_arrows_point_inward(path: Path) -> None:
    if (mine := layer(path)) == "__init__":
        assert not list(imports(path))
        return
    for name in imports(path):
        if not name.startswith(f"{PACKAGE}.") or name == f"{PACKAGE}.__version__":
            continue
        target = name.removeprefix(f"{PACKAGE}.")
        allowed = MAY_IMPORT[mine]
        assert any(target == a or target.startswith(f"{a}.") for a in allowed), f"{mine} must not import {name}"


@pytest.mark.parametrize("path", MODULES)
def test_only_adapters_talk_to_the_world(path: Path) -> None:
    for name in set(imports(path)) - only_for_types(path):
        if name.split(".")[0] not in TALKS_TO_THE_WORLD or any(name.startswith(pure) for pure in PURE_PARTS):
            continue
        assert layer(path) in MAY_TALK, f"{layer(path)} must not import {name}"


@pytest.mark.parametrize("path", MODULES)
def test_the_inner_layers_need_little(path: Path) -> None:
    mine = layer(path)
    if mine not in OUTSIDE:
        return
    for name in set(imports(path)) - only_for_types(path):
        top = name.split(".")[0]
        assert top == PACKAGE or top in sys.stdlib_module_names or top in OUTSIDE[mine], f"{mine} imports {name}"


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p.values[0]) == "domain"])
def test_the_domain_has_neither_clock_nor_environment(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & NO_CLOCK_NOR_ENVIRONMENT
    called = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [f.attr for f in called if isinstance(f, ast.Attribute) and f.attr in READS_THE_CLOCK]


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p.values[0]) not in ("cli", "local")])
def test_what_is_deployed_knows_nothing_of_what_is_not(path: Path) -> None:
    strangers = {"chalicelib.local", "chalicelib.cli", "moto", "typer", "rich", "tests", "bench"}
    assert not {name for name in imports(path) if any(name == s or name.startswith(f"{s}.") for s in strangers)}


@pytest.mark.parametrize("path", MODULES)
def test_a_module_says_what_lives_in_it(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body


@pytest.mark.parametrize("path", MODULES)
def test_no_module_is_a_drawer_for_odds_and_ends(path: Path) -> None:
    assert path.stem not in ("utils", "util", "helpers", "common", "manager", "models", "misc")


@pytest.mark.parametrize("path", [p for p in MODULES if layer(p.values[0]) == "services"])
def test_a_use_case_has_the_name_of_its_file(path: Path) -> None:
    if path.stem in ("__init__", "ports", "sweep_ports"):
        return
    tree = ast.parse(path.read_text())
    public = [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]
    assert path.stem in public


def test_imports_make_no_circle() -> None:
    names = {module_name(path): path for path in modules() if path.exists()}
    edges = {name: {t for i in imports(path) if (t := target_of(i, names))} - {name} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for target in edges[name]:
                visit(target, (*way, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def target_of(imported: str, names: dict[str, Path]) -> str | None:
    """The module an import reads: `a.b.c` is the module `a.b.c`, or the name `c` of the module `a.b`."""
    return next((n for n in (imported, imported.rpartition(".")[0]) if n in names), None)
