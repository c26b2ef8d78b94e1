"""Builds a release in build/release: wheel, bundle, template, bill of materials, changes, and the hashes of them all.

`make release` runs it after `make package` has built and checked the bundle. A release is a commit: a tree with
changes, without a section of CHANGELOG.md, or with the version of another commit is refused. Times are those of the
commit, so that a second build gives the same bytes. Nothing is published.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from chalicelib import __version__
from chalicelib.build.package import BUILD, LEFT_OUT, OUT, hashes, write_sums
from chalicelib.errors import InputError

RELEASE = BUILD / "release"
ARTEFACT = ("deployment.zip", "sam.json", "spoke.json")
PINS = ("requirements.txt", "requirements-dev.txt")
SEMANTIC = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
SHOWN = 5
_HEAD = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<day>\d{4}-\d\d-\d\d))?\s*$", re.M)
_PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^\s;]+).*\\(?P<hashes>(?:\n    --hash=\S+( \\)?)+)", re.M)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
WITHOUT_METADATA = ("chalice",)
"""Chalice copies its own runtime into a bundle without metadata."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make release", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only say whether this commit can be released")
    given = parser.parse_args(arguments)
    try:
        changes = check_release(Path())
        if not given.check:
            assemble(Path(), OUT, RELEASE, changes)
    except InputError as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    print(f"lazaretto {__version__} " + ("can be released" if given.check else f"is in {RELEASE}"))
    return 0


def check_release(tree: Path, version: str = __version__) -> str:
    """What changed in `version`. Raises InputError if the commit cannot be its release."""
    if not SEMANTIC.fullmatch(version):
        raise InputError(f"{version!r} is no semantic version (semver.org)")
    changed = _git(tree, "status", "--porcelain", "--untracked-files=all").splitlines()
    if changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        names = ", ".join(line[3:] for line in changed[:SHOWN])
        raise InputError(f"the tree has changes that are in no commit: {names}{more}")
    if (tagged := _tagged(tree, version)) not in (None, _git(tree, "rev-parse", "HEAD")):
        raise InputError(f"{version} has been released from {tagged}: raise __version__ in chalicelib/__init__.py")
    return read_changes((tree / "CHANGELOG.md").read_text(), version)


def assemble(tree: Path, package: Path, out: Path, changes: str) -> None:
    """Collects in `out` what `make package` built in `package` and the other parts of a release of `tree`."""
    committed = int(_git(tree, "log", "-1", "--format=%ct"))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in ARTEFACT:
        if not (package / name).exists():
            raise InputError(f"{package / name} is missing: run `make release`, which builds it first")
        shutil.copy(package / name, out / name)
    build_wheel(tree, out, committed)
    (out / "CHANGES.md").write_text(changes)
    pins = {name: pin for file in PINS for name, pin in read_pins((tree / file).read_text()).items()}
    with zipfile.ZipFile(out / "deployment.zip") as bundle:
        if (other := _other_source(bundle, tree)) is not None:
            raise InputError(f"{package} was built from other sources: {other} differs")
        sha256 = hashes(out)["deployment.zip"]
        materials = bill_of_materials(bundle, sha256, pins, datetime.fromtimestamp(committed, UTC))
    (out / "sbom.cdx.json").write_text(materials)
    write_sums(out)


def build_wheel(tree: Path, out: Path, epoch: int) -> None:
    """`epoch`: the time of all files in Unix seconds (reproducible-builds.org/specs/source-date-epoch)."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out.absolute())]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(command, cwd=tree, env=env, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise InputError(f"the wheel cannot be built:\n{done.stderr}")


def _other_source(bundle: zipfile.ZipFile, tree: Path) -> str | None:
    """A file of ours that differs between the bundle and `tree`, or is missing in one of them."""
    ours = {n for n in bundle.namelist() if n == "app.py" or (n.startswith("chalicelib/") and not n.endswith(".pyc"))}
    for name in sorted(ours | _staged(tree)):
        there = tree / name
        if name not in ours or not there.exists() or there.read_bytes() != bundle.read(name):
            return name
    return None


def _staged(tree: Path) -> set[str]:
    """The files that `package.stage_tree` copies from `tree`."""
    found = (path.relative_to(tree) for path in (tree / "chalicelib").rglob("*") if path.is_file())
    taken = (path for path in found if path.parts[1] not in LEFT_OUT and path.suffix != ".pyc")
    return {"app.py", *(path.as_posix() for path in taken if not any(part.startswith(".") for part in path.parts))}


def _tagged(tree: Path, version: str) -> str | None:
    """The commit that carries the tag of `version`."""
    commit = "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
    return _git(tree, "for-each-ref", commit, f"refs/tags/v{version}") or None


def _git(tree: Path, *words: str) -> str:
    command = ["git", "-C", str(tree), *words]
    done = subprocess.run(command, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise InputError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout.rstrip()


def read_changes(text: str, version: str) -> str:
    """The section of `version` (keepachangelog.com). Raises InputError if it, its day or its text is missing."""
    heads = list(_HEAD.finditer(text))
    found = next((n for n, head in enumerate(heads) if head["version"] == version), None)
    if found is None:
        raise InputError(
            f"CHANGELOG.md has no section [{version}]: give what is under [Unreleased] this name and a day"
        )
    if heads[found]["day"] is None:
        raise InputError(f"CHANGELOG.md names no day for [{version}]: ## [{version}] - YYYY-MM-DD")
    end = heads[found + 1].start() if found + 1 < len(heads) else len(text)
    changes = text[heads[found].end() : end].strip()
    if not re.search(r"^- ", changes, re.M):
        raise InputError(f"CHANGELOG.md says nothing of [{version}]")
    return changes + "\n"


class Pin(NamedTuple):
    version: str
    sha256: tuple[str, ...]


def read_pins(requirements: str) -> dict[str, Pin]:
    """The pins of a compiled requirements file, by canonical name."""
    return {m["name"]: Pin(m["version"], tuple(_HASH.findall(m["hashes"]))) for m in _PIN.finditer(requirements)}


def bill_of_materials(bundle: zipfile.ZipFile, sha256: str, pins: Mapping[str, Pin], made_at: datetime) -> str:
    """CycloneDX 1.6 as JSON; equal bundles and times give equal text. `sha256`: of the bundle. Raises InputError for an
    unpinned package in the bundle."""
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"lazaretto:{sha256}"))
    bom.metadata.timestamp = made_at
    ours = PackageURL("generic", name="lazaretto", version=__version__)
    bom.metadata.component = _component(ours, (sha256,), "Apache-2.0", ComponentType.APPLICATION)
    for name, version, words in _held(bundle):
        pin = pins.get(name)
        if pin is None or version not in (None, pin.version):
            raise InputError(f"the bundle holds {name} {version or ''}, which no requirements file pins")
        purl = PackageURL("pypi", name=name, version=pin.version)
        bom.components.add(_component(purl, pin.sha256, words))
    bom.register_dependency(bom.metadata.component, bom.components)
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _held(bundle: zipfile.ZipFile) -> Iterator[tuple[str, str | None, str | None]]:
    """Canonical name, version if the bundle names it, and licence of every package in the bundle."""
    names = bundle.namelist()
    for path in names:
        if _METADATA.fullmatch(path):
            metadata = HeaderParser().parsestr(bundle.read(path).decode())
            yield re.sub(r"[-_.]+", "-", metadata["Name"]).lower(), metadata["Version"], _license(metadata)
    for package in WITHOUT_METADATA:
        if f"{package}/__init__.py" in names:
            yield package, None, None


def _license(metadata: Message) -> str | None:
    """The SPDX expression, else a short name: the field may also contain a whole licence."""
    words = str(metadata["License-Expression"] or metadata["License"] or "").strip()
    return words if words and "\n" not in words else None


def _component(
    purl: PackageURL, sha256: tuple[str, ...], words: str | None, kind: ComponentType = ComponentType.LIBRARY
) -> Component:
    return Component(
        name=purl.name,
        version=purl.version,
        type=kind,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in sha256],
        licenses=[LicenseFactory().make_from_string(words)] if words else [],
    )


if __name__ == "__main__":
    sys.exit(main())
