"""The arrows of the house, read from the imports of every module:

app, api, cli -> context -> adapters -> parsers -> domain; services -> domain; only the command line knows local/.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Set

from bench.source import NOT_DEPLOYED, PACKAGE, Module, arrows, modules

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
TALKS_TO_THE_WORLD = {"boto3", "botocore", "urllib", "urllib3", "http", "requests", "socket"}
MAY_TALK = {"adapters", "local", "cli", "forwarder"}
PURE_PARTS = {"urllib.parse", "http.HTTPStatus"}
STRANGERS = {*(f"chalicelib.{layer}" for layer in NOT_DEPLOYED), "moto", "typer", "rich", "tests", "bench"}
"""What a deployed module must not import."""
NO_CLOCK_NOR_ENVIRONMENT = {"os", "time", "random", "secrets", "pathlib", "subprocess", "logging"}
READS_THE_CLOCK = {"now", "utcnow", "today"}

PORTS = {f"{PACKAGE}.services.ports"}
"""Packages of Protocols: no use cases."""
DRAWERS = {"utils", "util", "helpers", "common", "manager", "models", "misc"}


def is_port(module: Module) -> bool:
    return _is_below(module.name, PORTS)


def _is_below(name: str, roots: set[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def none_of(offences: list[str]) -> None:
    assert not offences, "\n" + "\n".join(offences)


def test_arrows_point_inward() -> None:
    """Every layer imports what MAY_IMPORT grants it, and nothing by a relative name."""
    known = {"__init__", *MAY_IMPORT}
    offences = [f"{m.path}: {m.layer} is no layer that MAY_IMPORT knows" for m in modules() if m.layer not in known]
    offences += [f"{m.path}: a relative import" for m in modules() if m.is_relative]
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
    offences = [f"{m.path} does not say what lives in it" for m in modules() if not m.docstring and not m.is_empty]
    none_of(offences + [f"{m.path} is a drawer for odds and ends" for m in modules() if m.stem in DRAWERS])


def test_a_use_case_has_the_name_of_its_file() -> None:
    cases = [m for m in modules() if m.layer == "services" and m.stem != "__init__" and not is_port(m)]
    assert cases, "services has no use case: has it moved?"
    none_of([f"{m.path} has no public function {m.stem}" for m in cases if m.stem not in m.public_functions])


def test_one_module_puts_headers() -> None:
    """A second writer would have a retry loop of its own, and its own order of what follows."""
    writers = sorted(module.path for module in modules() if "put_header" in module.methods_called)
    assert writers == [f"{PACKAGE}/services/assessment/write_header.py"]


def test_imports_make_no_circle() -> None:
    none_of(circles(arrows()))


def test_packages_of_a_layer_make_no_circle() -> None:
    """The root package is left out: its modules build, or are, what the layers are made of."""
    of = {module.name: module for module in modules()}
    edges: dict[str, set[str]] = defaultdict(set)
    for name, targets in arrows().items():
        for target in targets:
            package, other = of[name].package, of[target].package
            if of[name].layer == of[target].layer and package != other and PACKAGE not in (package, other):
                edges[package].add(other)
    assert edges, "no package imports another of its layer: are they read at all?"
    none_of(circles(edges))


def circles(edges: Mapping[str, Set[str]]) -> list[str]:
    found: list[str] = []
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            found.append(" -> ".join((*way[way.index(name) :], name)))
        elif name not in done:
            for target in sorted(edges.get(name, ())):
                visit(target, (*way, name))
            done.add(name)

    for name in list(edges):
        visit(name, ())
    return found


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b -> c -> b"]


def test_a_package_says_where_to_begin() -> None:
    packages = [m for m in modules() if m.stem == "__init__" and m.name != PACKAGE]
    words = {m.path: " ".join(m.docstring.split()) for m in packages}
    none_of([f"{path} does not say where to begin" for path, said in words.items() if "Begin with `" not in said])


def test_no_two_public_classes_have_one_name() -> None:
    counts = Counter(name for module in modules() for name in module.public_classes)
    none_of([f"two modules have a class {name}" for name, count in sorted(counts.items()) if count > 1])
