"""The arrows of the house, read from the imports of every module:

app, api, cli -> context -> adapters -> parsers -> domain; services -> domain; only the command line knows local/.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

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
    "adapters": {*CORE, "adapters", "parsers", "settings", "services.ports", "observability"},
    "context": INNER,
    "intake": {*CORE, "parsers", "observability"},
    "api": {*CORE, "api", "context", "adapters", "services", "settings", "observability", "exports"},
    "app": {*CORE, "api", "context", "intake", "services", "settings", "observability"},
    "local": {*INNER, "local", "api", "context", "intake"},
    "forwarder": {*CORE, "forwarder"},
    "build": {*CORE, "build"},
    "cli": {*INNER, "cli", "local", "api", "context", "intake", "build", "forwarder"},
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
MAY_TALK = {"adapters", "local", "cli", "forwarder"}
PURE_PARTS = {"urllib.parse", "http.HTTPStatus"}
NOT_DEPLOYED = {"build", "cli", "forwarder", "local"}
STRANGERS = {*(f"chalicelib.{layer}" for layer in NOT_DEPLOYED), "moto", "typer", "rich", "tests", "bench"}
"""What a deployed module must not import."""
NO_CLOCK_NOR_ENVIRONMENT = {"os", "time", "random", "secrets", "pathlib", "subprocess", "logging"}
READS_THE_CLOCK = {"now", "utcnow", "today"}

PORTS = {f"{PACKAGE}.services.ports"}
"""Packages of Protocols: no use cases."""
DRAWERS = {"utils", "util", "helpers", "common", "manager", "models", "misc"}


@dataclass
class Module:
    """What the rules ask of one file. `layer` is the first part below the package, however deep the file lies:
    `domain`, `settings`, `app`. `imports` are dotted names, `from a.b import c` as `a.b.c`."""

    path: str
    name: str
    layer: str
    says_what_lives_in_it: bool
    imports: set[str] = field(default_factory=set)
    at_run_time: set[str] = field(default_factory=set)
    """Without those below `if TYPE_CHECKING:`, which do not exist when the module runs."""
    methods_called: set[str] = field(default_factory=set)
    public_functions: set[str] = field(default_factory=set)
    relative: bool = False

    @property
    def stem(self) -> str:
        return Path(self.path).stem

    @property
    def is_port(self) -> bool:
        return _is_below(self.name, PORTS)


@cache
def modules() -> tuple[Module, ...]:
    """Parsed once for all rules."""
    return tuple(_read(path) for path in [ROOT / "app.py", *sorted((ROOT / PACKAGE).rglob("*.py"))])


def _read(path: Path) -> Module:
    tree, parts = ast.parse(path.read_text()), path.relative_to(ROOT).with_suffix("").parts
    module = Module(
        path=str(path.relative_to(ROOT)),
        name=".".join(parts).removesuffix(".__init__"),
        layer=parts[0] if len(parts) == 1 else parts[1],
        says_what_lives_in_it=bool(ast.get_docstring(tree)) or not tree.body,
    )
    for_types = {name for node in ast.walk(tree) if _is_type_checking(node) for name in _imported(node, module)}
    module.imports = set(_imported(tree, module))
    module.at_run_time = module.imports - for_types
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    module.methods_called = {func.attr for func in calls if isinstance(func, ast.Attribute)}
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    module.public_functions = {name for name in functions if not name.startswith("_")}
    return module


def _imported(tree: ast.AST, module: Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module.relative |= node.level > 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _is_below(name: str, roots: set[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def none_of(offences: list[str]) -> None:
    assert not offences, "\n" + "\n".join(offences)


def test_arrows_point_inward() -> None:
    """Every layer imports what MAY_IMPORT grants it, and nothing by a relative name."""
    known = {"__init__", *MAY_IMPORT}
    offences = [f"{m.path}: {m.layer} is no layer that MAY_IMPORT knows" for m in modules() if m.layer not in known]
    offences += [f"{m.path}: a relative import" for m in modules() if m.relative]
    for module in modules():
        if module.layer == "__init__":
            offences += [f"{module.path} must not import {name}" for name in sorted(module.imports)]
            continue
        allowed = {f"{PACKAGE}.{name}" for name in MAY_IMPORT.get(module.layer, ())} | {f"{PACKAGE}.__version__"}
        ours = sorted(name for name in module.imports if _is_below(name, {PACKAGE}))
        offences += [
            f"{module.path}: {module.layer} must not import {name}" for name in ours if not _is_below(name, allowed)
        ]
    none_of(offences)


def test_no_layer_imports_more_of_the_outside_than_it_needs() -> None:
    """Only adapters talk to the world, the inner layers need little, the domain has neither clock nor environment, and
    what is deployed knows nothing of what is not."""
    offences = []
    for module in modules():
        forbidden = {name for name in module.at_run_time if talks(name)} if module.layer not in MAY_TALK else set()
        if module.layer in OUTSIDE:
            needed = {PACKAGE, *sys.stdlib_module_names, *OUTSIDE[module.layer]}
            forbidden |= {name for name in module.at_run_time if name.split(".")[0] not in needed}
        if module.layer == "domain":
            forbidden |= {name for name in module.imports if name.split(".")[0] in NO_CLOCK_NOR_ENVIRONMENT}
            read = sorted(module.methods_called & READS_THE_CLOCK)
            offences += [f"{module.path} must not read the clock: {name}()" for name in read]
        if module.layer not in NOT_DEPLOYED:
            forbidden |= {name for name in module.imports if _is_below(name, STRANGERS)}
        offences += [f"{module.path}: {module.layer} must not import {name}" for name in sorted(forbidden)]
    none_of(offences)


def talks(name: str) -> bool:
    return name.split(".")[0] in TALKS_TO_THE_WORLD and not any(name.startswith(pure) for pure in PURE_PARTS)


def test_a_module_says_what_lives_in_it_and_is_no_drawer_for_odds_and_ends() -> None:
    offences = [f"{m.path} does not say what lives in it" for m in modules() if not m.says_what_lives_in_it]
    none_of(offences + [f"{m.path} is a drawer for odds and ends" for m in modules() if m.stem in DRAWERS])


def test_a_use_case_has_the_name_of_its_file() -> None:
    cases = [m for m in modules() if m.layer == "services" and m.stem != "__init__" and not m.is_port]
    assert cases, "services has no use case: has it moved?"
    none_of([f"{m.path} has no public function {m.stem}" for m in cases if m.stem not in m.public_functions])


def test_imports_make_no_circle() -> None:
    names = {module.name for module in modules()}
    edges = {m.name: {t for i in m.imports if (t := target_of(i, names))} - {m.name} for m in modules()}
    circles: list[str] = []
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            circles.append(" -> ".join((*way[way.index(name) :], name)))
        elif name not in done:
            for target in sorted(edges[name]):
                visit(target, (*way, name))
            done.add(name)

    for name in edges:
        visit(name, ())
    none_of(circles)


def target_of(imported: str, names: set[str]) -> str | None:
    """The module an import reads: `a.b.c` is the module `a.b.c`, or the name `c` of the module `a.b`."""
    return next((n for n in (imported, imported.rpartition(".")[0]) if n in names), None)
