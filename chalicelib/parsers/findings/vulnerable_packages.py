"""The packages of an Inspector finding: its `vulnerablePackages`. Part of the hot path (`finding_rows.py`)."""

from __future__ import annotations

from chalicelib.domain.images.finding import Ecosystem, Package
from chalicelib.parsers.wire.wire import Count, Wire

_NO_FIX = "NotAvailable"
# Every word but these is a language's package manager.
_ECOSYSTEM: dict[str | None, Ecosystem | None] = {None: None, "": None, "OS": Ecosystem.OS}
_LANGUAGE = Ecosystem.LANGUAGE


class PackageWire(Wire):
    name: str
    version: str | None = None
    epoch: Count | None = None
    release: str | None = None
    arch: str | None = None
    package_manager: str | None = None
    file_path: str | None = None
    fixed_in_version: str | None = None
    source_layer_hash: str | None = None


def packages_of(wires: list[PackageWire] | None) -> tuple[tuple[Package, ...], Ecosystem | None]:
    """The packages, and whether they are the system's or a language's: the first that says so decides."""
    if not wires:
        return (), None
    if len(wires) == 1:
        package = _package(wires[0])
        return (package,), _ECOSYSTEM.get(package.manager, _LANGUAGE)
    packages = tuple(map(_package, wires))
    manager = next((p.manager for p in packages if p.manager), None)
    return packages, _ECOSYSTEM.get(manager, _LANGUAGE)


def _package(wire: PackageWire) -> Package:
    """`version` becomes `[epoch:]version[-release]`, an epoch of 0 left out."""
    version, fixed = wire.version, wire.fixed_in_version
    if not version:
        version = None
    else:
        if wire.release:
            version = f"{version}-{wire.release}"
        if wire.epoch:
            version = f"{wire.epoch}:{version}"
    # By position, in the order of Package's fields: see `finding_of`.
    return Package(
        wire.name,
        version,
        wire.package_manager,
        wire.file_path,
        wire.arch,
        None if fixed == _NO_FIX else fixed or None,
        wire.source_layer_hash,
    )


def fixed_in(version: str | None) -> str | None:
    return None if not version or version == _NO_FIX else version
