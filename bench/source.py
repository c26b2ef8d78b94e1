"""The product's modules, each parsed once: what `tests/test_architecture.py` and `bench.size` ask of a file."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "chalicelib"
NOT_DEPLOYED = {"build", "cli", "forwarder", "local"}


@dataclass
class Module:
    """`layer` is the first part below the package, however deep the file lies: `domain`, `settings`, `app`. `package`
    is the folder as a dotted name. `imports` are dotted names, `from a.b import c` as `a.b.c`."""

    path: str
    name: str
    layer: str
    package: str
    docstring: str
    is_empty: bool
    lines: int
    imports: set[str] = field(default_factory=set)
    at_run_time: set[str] = field(default_factory=set)
    """Without those below `if TYPE_CHECKING:`, which do not exist when the module runs."""
    methods_called: set[str] = field(default_factory=set)
    public_functions: set[str] = field(default_factory=set)
    public_classes: set[str] = field(default_factory=set)
    is_relative: bool = False

    @property
    def stem(self) -> str:
        return Path(self.path).stem


@cache
def modules() -> tuple[Module, ...]:
    return tuple(_read(path) for path in [ROOT / "app.py", *sorted((ROOT / PACKAGE).rglob("*.py"))])


@cache
def arrows() -> Mapping[str, set[str]]:
    """Which modules each module imports, by name."""
    names = {module.name for module in modules()}
    return {m.name: {t for i in m.imports if (t := target_of(i, names))} - {m.name} for m in modules()}


def target_of(imported: str, names: set[str]) -> str | None:
    """The module an import reads: `a.b.c` is the module `a.b.c`, or the name `c` of the module `a.b`."""
    return next((n for n in (imported, imported.rpartition(".")[0]) if n in names), None)


def _read(path: Path) -> Module:
    text = path.read_text()
    tree, parts = ast.parse(text), path.relative_to(ROOT).with_suffix("").parts
    module = Module(
        path=str(path.relative_to(ROOT)),
        name=".".join(parts).removesuffix(".__init__"),
        layer=parts[0] if len(parts) == 1 else parts[1],
        package=".".join(parts[:-1]),
        docstring=ast.get_docstring(tree) or "",
        is_empty=not tree.body,
        lines=len(text.splitlines()),
    )
    for_types = {id(inner) for node in ast.walk(tree) if _is_type_checking(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        names = _imported(node)
        module.imports |= names
        module.at_run_time |= set() if id(node) in for_types else names
        module.is_relative |= isinstance(node, ast.ImportFrom) and node.level > 0
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    module.methods_called = {func.attr for func in calls if isinstance(func, ast.Attribute)}
    module.public_functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) if _is_public(node)}
    module.public_classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef) if _is_public(node)}
    return module


def _is_public(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return not node.name.startswith("_")


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {f"{node.module}.{alias.name}" for alias in node.names} if isinstance(node, ast.ImportFrom) else set()


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
