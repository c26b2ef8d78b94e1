"""Builds a release in build/release: wheel, bundle, template, bill of materials, changes, and the hashes of them all.

`make release` runs it, after `make package` has built and checked the bundle. A release is a commit: nothing is built
from a tree with changes of its own, without a section of CHANGELOG.md, or again under a version that another commit
has. Its times are those of the commit, so that who builds the commit again gets the same bytes. Nothing is published.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from chalicelib import __version__
from chalicelib.build.bill_of_materials import bill_of_materials, read_pins
from chalicelib.build.changelog import read_changes
from chalicelib.build.package import BUILD, LEFT_OUT, OUT, hashes
from chalicelib.errors import InputError

RELEASE = BUILD / "release"
ARTEFACT = ("deployment.zip", "sam.json", "spoke.json")
SUMS = "SHA256SUMS"
PINS = ("requirements.txt", "requirements-dev.txt")
SEMANTIC = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
SHOWN = 5


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
    """What changed in `version`. Raises InputError where the commit that is checked out is no release of it."""
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
    """Puts together in `out` what `make package` built in `package` and what else belongs to a release of `tree`."""
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
    (out / SUMS).write_text("".join(f"{value}  {name}\n" for name, value in hashes(out).items()))


def build_wheel(tree: Path, out: Path, epoch: int) -> None:
    """`epoch`: Unix seconds that all files of the wheel get (reproducible-builds.org/specs/source-date-epoch)."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out.absolute())]
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(command, cwd=tree, env=env, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise InputError(f"the wheel cannot be built:\n{done.stderr}")


def _other_source(bundle: zipfile.ZipFile, tree: Path) -> str | None:
    """A file of ours that is not the same in the bundle and in `tree`, or is in one of them only."""
    ours = {n for n in bundle.namelist() if n == "app.py" or (n.startswith("chalicelib/") and not n.endswith(".pyc"))}
    for name in sorted(ours | _staged(tree)):
        there = tree / name
        if name not in ours or not there.exists() or there.read_bytes() != bundle.read(name):
            return name
    return None


def _staged(tree: Path) -> set[str]:
    """What `make package` takes of `tree` (`package.stage_tree`)."""
    found = (path.relative_to(tree) for path in (tree / "chalicelib").rglob("*") if path.is_file())
    taken = (path for path in found if path.parts[1] not in LEFT_OUT and path.suffix != ".pyc")
    return {"app.py", *(path.as_posix() for path in taken if not any(part.startswith(".") for part in path.parts))}


def _tagged(tree: Path, version: str) -> str | None:
    """The commit that carries the tag of `version`."""
    return (
        _git(
            tree,
            "for-each-ref",
            "--format=%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)",
            f"refs/tags/v{version}",
        )
        or None
    )


def _git(tree: Path, *words: str) -> str:
    command = ["git", "-C", str(tree), *words]
    done = subprocess.run(command, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise InputError(f"git {words[0]} failed: {done.stderr.strip()}")
    return done.stdout.rstrip()


if __name__ == "__main__":
    sys.exit(main())
