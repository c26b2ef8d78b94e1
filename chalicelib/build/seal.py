"""Seals a bundle: what it holds alone decides its bytes, so that the same commit gives the same hash anywhere.

Chalice writes files in the order a folder lists them, and none of their bytecode.
"""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from pathlib import Path

from chalicelib.build import bytecode

BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold: that of every file."""
_READABLE = 0o100644 << 16


def seal(bundle: Path, python: Path) -> None:
    """Writes the zip `bundle` anew, with the bytecode that the interpreter `python` makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder)
        with zipfile.ZipFile(bundle) as packed:
            packed.extractall(unpacked)
        _compile(unpacked, python)
        write_zip(unpacked, bundle)


def write_zip(folder: Path, target: Path) -> None:
    """The files below `folder` by name, of one time, readable by all and without an owner."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, path in sorted(paths.items()):
            entry = zipfile.ZipInfo(name, BEGINNING)
            entry.create_system, entry.external_attr, entry.compress_type = 3, _READABLE, zipfile.ZIP_DEFLATED
            packed.writestr(entry, path.read_bytes())


def _compile(unpacked: Path, python: Path) -> None:
    """In a process whose environment is this seed alone: the order of a set would be in the bytecode."""
    command = [str(python), "-P", "-S", bytecode.__file__, str(unpacked)]
    done = subprocess.run(command, env={"PYTHONHASHSEED": "0"}, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"the bundle does not compile:\n{done.stderr}")
