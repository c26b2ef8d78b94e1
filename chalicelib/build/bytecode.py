"""Compiles a bundle in place: a script for the interpreter whose version the functions run. Standard library only.

A function cannot write beside its code, so without bytecode every cold start compiles everything it imports. The files
are not checked against their sources at each start (PEP 552, `unchecked-hash`): nobody edits a deployed function. They
name the paths Lambda gives the sources, so that no folder of the machine that built them is in them.
"""

from __future__ import annotations

import py_compile
import sys
from pathlib import Path

TASK = "/var/task"
"""Where Lambda lays a bundle (docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html, LAMBDA_TASK_ROOT)."""


def compile_bundle(unpacked: Path) -> None:
    """In the order of their names: what is compiled first decides nothing then. Raises PyCompileError."""
    for source in sorted(unpacked.rglob("*.py")):
        py_compile.compile(
            str(source),
            dfile=f"{TASK}/{source.relative_to(unpacked).as_posix()}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    compile_bundle(Path(sys.argv[1]))
