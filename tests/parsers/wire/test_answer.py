"""An answer is read by several threads at once, also by a type that none of them has used before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.wire import Upper, read

AT_ONCE = """
import sys, threading, types, msgspec
from chalicelib.parsers.wire.wire import read

CODE = '''
from __future__ import annotations
import msgspec
class Inner(msgspec.Struct, frozen=True):
    {inner}
class Outer(msgspec.Struct, frozen=True):
    {outer}
'''.format(
    inner="; ".join(f"a{n}: int | None = None" for n in range(12)),
    outer="; ".join(f"b{n}: tuple[Inner, ...] = ()" for n in range(12)),
)

def begin(kind, started):
    started.wait()
    assert read(kind, {"b11": [{"a11": 2}]}).b11[0].a11 == 2

def several(number):
    module = sys.modules[f"made{number}"] = types.ModuleType(f"made{number}")
    exec(CODE, vars(module))
    started = threading.Barrier(4)
    threads = [threading.Thread(target=begin, args=(module.Outer, started)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

sys.setswitchinterval(1e-6)
for number in range(60):
    several(number)
"""
ROOT = Path(__file__).parents[3]


class Said(Upper):
    number: int


def test_several_threads_may_be_the_first_to_read_one_type() -> None:
    """In another process: by `msgspec.convert` alone it crashes within some of these rounds."""
    done = subprocess.run([sys.executable, "-c", AT_ONCE], cwd=ROOT, capture_output=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_understood_is_refused() -> None:
    assert read(Said, {"Number": 1}) == Said(1)
    with pytest.raises(RefusedPayloadError):
        read(Said, {"Number": "one"})
