"""Seals a bundle: its content alone decides its bytes, so that the same commit gives the same hash on every machine.

Chalice writes files in the order a folder lists them, and no bytecode. Without bytecode every cold start compiles what
it imports, because a function cannot write beside its code. Run as a script, this file compiles an unpacked bundle with
the interpreter that runs it: the standard library is all it may import.
"""

from __future__ import annotations

import py_compile
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold: every file gets it."""
TASK = "/var/task"
"""Where Lambda lays a bundle (docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, LAMBDA_TASK_ROOT)."""
_READABLE = 0o100644 << 16


def seal(bundle: Path, python: Path) -> None:
    """Rewrites the zip `bundle`, with bytecode compiled by the interpreter `python`."""
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder)
        with zipfile.ZipFile(bundle) as packed:
            packed.extractall(unpacked)
        _compile(unpacked, python)
        write_zip(unpacked, bundle)


def write_zip(folder: Path, target: Path) -> None:
    """The files below `folder` by name, all with the same time, readable by all and without an owner."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for name, path in sorted(paths.items()):
            entry = zipfile.ZipInfo(name, BEGINNING)
            entry.create_system, entry.external_attr, entry.compress_type = 3, _READABLE, zipfile.ZIP_DEFLATED
            packed.writestr(entry, path.read_bytes())


def compile_bundle(unpacked: Path) -> None:
    """Sorted, so that the order decides nothing. Raises PyCompileError.

    A deployed function is not edited, so its bytecode is not compared with the sources (PEP 552, `unchecked-hash`). It
    names the paths that Lambda gives the sources: no folder of the building machine is in it.
    """
    for source in sorted(unpacked.rglob("*.py")):
        py_compile.compile(
            str(source),
            dfile=f"{TASK}/{source.relative_to(unpacked).as_posix()}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _compile(unpacked: Path, python: Path) -> None:
    """In a process with a fixed hash seed: bytecode contains the order of sets."""
    command = [str(python), "-P", "-S", __file__, str(unpacked)]
    done = subprocess.run(command, env={"PYTHONHASHSEED": "0"}, text=True, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"the bundle does not compile:\n{done.stderr}")


if __name__ == "__main__":
    compile_bundle(Path(sys.argv[1]))
