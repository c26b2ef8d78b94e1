"""How large the product is and how many files a reader walks through, against the budgets of pyproject.toml.

    python -m bench.size

`make lint` runs it. A figure over its budget fails, and so does a budget without a figure or a figure without a budget.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.source import ROOT, Module, arrows, modules

BUDGETS = "tool.lazaretto.budgets"
WALKS = {
    "scan_event_files": "scan_event",
    "request_files": "request",
    "quarantine_files": "quarantine",
    "retention_sweep_files": "retention_sweep",
}
"""Figures that are counted by playing: the walk of each."""


@dataclass(frozen=True)
class Figure:
    """`about`: which package or file it is, or what is counted."""

    name: str
    value: int
    about: str = ""


def figures(walks: Mapping[str, Sequence[str]]) -> tuple[Figure, ...]:
    """`walks`: the files of each, by its name."""
    return *product(modules()), *tests(sorted((ROOT / "tests").rglob("*.py"))), *walked(walks)


def product(found: Sequence[Module]) -> Iterable[Figure]:
    yield Figure("product_files", len(found), "app.py and chalicelib")
    yield Figure("product_lines", sum(module.lines for module in found))
    package, files = Counter(module.package for module in found).most_common(1)[0]
    yield Figure("largest_package_files", files, package)
    longest = max(found, key=lambda module: module.lines)
    yield Figure("largest_file_lines", longest.lines, longest.path)
    deepest = max(found, key=lambda module: module.package.count("."))
    yield Figure("deepest_package", len(deepest.package.split(".")), deepest.package)
    yield Figure("modules_with_one_importer", len(with_one_importer(arrows())), "product modules only")


def with_one_importer(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules that exactly one other module imports. `imports`: which modules each one reads."""
    readers = Counter(target for targets in imports.values() for target in targets)
    return sorted(name for name, count in readers.items() if count == 1)


def tests(files: Sequence[Path]) -> Iterable[Figure]:
    yield Figure("test_files", len(files), "tests")
    yield Figure("test_lines", sum(len(path.read_text().splitlines()) for path in files))


def walked(walks: Mapping[str, Sequence[str]]) -> Iterable[Figure]:
    for name, walk in WALKS.items():
        yield Figure(name, len(walks[walk]), "in which a function runs: python -m bench.walks")


def complaints(found: Sequence[Figure], budgets: Mapping[str, int]) -> list[str]:
    """One sentence for each figure that is over its budget, or that one of the two lists lacks."""
    names = [figure.name for figure in found]
    over = [
        f"{f.name} is {f.value:,}, and its budget is {budgets[f.name]:,}. Make it smaller; or raise the budget in "
        "pyproject.toml and name it in CHANGELOG.md."
        for f in found
        if f.name in budgets and f.value > budgets[f.name]
    ]
    missing = [
        f"{name} has no budget: add one to [{BUDGETS}] in pyproject.toml." for name in names if name not in budgets
    ]
    unknown = [f"{name} in [{BUDGETS}] is no figure of bench/size.py." for name in budgets if name not in names]
    return over + missing + unknown


def budgets_of(text: str) -> Mapping[str, int]:
    """`text` of pyproject.toml."""
    found: Mapping[str, int] = tomllib.loads(text)["tool"]["lazaretto"]["budgets"]
    return found


def table(found: Sequence[Figure], budgets: Mapping[str, int]) -> str:
    """One line a figure: its name, value, budget, and what it is about."""
    return "\n".join(f"{f.name:<27}{f.value:>8,}{budgets.get(f.name, 0):>9,}  {f.about}".rstrip() for f in found)


def main() -> None:
    from bench.walks import walks

    found, budgets = figures(walks()), budgets_of((ROOT / "pyproject.toml").read_text())
    print(f"{'size':<27}{'now':>8}{'budget':>9}", table(found, budgets), sep="\n")
    wrong = complaints(found, budgets)
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
