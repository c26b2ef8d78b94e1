"""The artefact: the bundle and its template, packaged from the source tree now, or earlier.

Packaging fixes the stage, because Chalice writes the names of queues then.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from chalicelib.build.bundle import check_bundle, check_template
from chalicelib.cli.framework.output import complain
from chalicelib.errors import InputError, UpstreamError

TREE = Path(__file__).parents[3]
BUNDLE, TEMPLATE, SUMS = "deployment.zip", "sam.json", "SHA256SUMS"
_OF_TREE = ("app.py", "Makefile", ".chalice/resources.json")
_FUNCTION = "AWS::Serverless::Function"
_LAST_LINES = 15


class Artefact(msgspec.Struct, frozen=True):
    """`template`: Chalice's SAM template merged with ours; its functions' code is still a path."""

    template: Mapping[str, Any]
    bundle: bytes

    def placed(self, bucket: str, key: str) -> bytes:
        """The template with the code's place in S3, as text. Equal content gives equal text."""
        place = {"Bucket": bucket, "Key": key}
        resources = {name: _with_code(r, place) for name, r in self.template["Resources"].items()}
        return json.dumps({**self.template, "Resources": resources}, indent=1, sort_keys=True).encode()


def find_artefact(stage: str, directory: Path | None, sums_sha256: str | None = None) -> Artefact:
    """The artefact in `directory`; without one, packages the source tree in some 30 s.

    `sums_sha256`: the SHA-256 in hex of `SHA256SUMS`, or, where the folder has none, of what `sha256sum deployment.zip
    sam.json` prints. Raises InputError if there is neither artefact nor tree, if neither sums nor their hash say what
    the artefact must be, for another stage, and for an artefact that fails the checks; UpstreamError if packaging
    fails.
    """
    return _read(directory or _package(stage), stage, sums_sha256)


def _package(stage: str) -> Path:
    if not all((TREE / name).exists() for name in _OF_TREE):
        raise InputError("this is an installed Lazaretto, without its sources: give --artifact DIR, a release's folder")
    command, env = ["make", "package"], {**os.environ, "LAZARETTO_STAGE": stage}
    try:
        done = subprocess.run(command, cwd=TREE, env=env, text=True, capture_output=True, check=False)  # noqa: S603
    except OSError as error:
        raise UpstreamError(f"make package cannot be run: {error}") from error
    if done.returncode:
        for line in (done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:]:
            complain(line)
        raise UpstreamError("make package fails: nothing was deployed")
    return TREE / "build/package"


def _read(directory: Path, stage: str, sums_sha256: str | None) -> Artefact:
    try:
        content, text = (directory / BUNDLE).read_bytes(), (directory / TEMPLATE).read_bytes()
        sums = (directory / SUMS).read_bytes() if (directory / SUMS).exists() else None
    except OSError as error:
        raise InputError(f"{directory} must hold {BUNDLE} and {TEMPLATE}: {error.strerror}") from error
    _check_sums(directory, {BUNDLE: content, TEMPLATE: text}, sums, sums_sha256)
    try:
        artefact = Artefact(json.loads(text), content)
        packaged = artefact.template["Parameters"]["Stage"]["Default"]
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            complaints = [*check_bundle(bundle), *check_template(artefact.template)]
    except (ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{directory} holds no artefact of Lazaretto: {type(error).__name__}: {error}") from error
    if packaged != stage:
        raise InputError(f"{directory} is packaged for the stage {packaged}, not for {stage}")
    if complaints:
        raise InputError(f"{directory} is not fit to be deployed: {complaints[0]}")
    return artefact


def _check_sums(directory: Path, held: Mapping[str, bytes], sums: bytes | None, sums_sha256: str | None) -> None:
    """What is deployed runs with the rights of the functions: something must say what it is. Raises InputError."""
    if sums is None and sums_sha256 is None:
        raise InputError(f"{directory} holds no {SUMS}: add the one of the release, or give --sums-sha256")
    found = {name: hashlib.sha256(content).hexdigest() for name, content in held.items()}
    if sums is None:
        sums = "".join(f"{digest}  {name}\n" for name, digest in found.items()).encode()
    if sums_sha256 is not None and hashlib.sha256(sums).hexdigest() != sums_sha256.lower():
        raise InputError(f"--sums-sha256 is not the hash of the {SUMS} of {directory}")
    expected = _sums_of(sums)
    for name, digest in found.items():
        if expected.get(name) != digest:
            raise InputError(f"{name} is not the one of the release: {SUMS} does not name its hash")


def _sums_of(sums: bytes) -> dict[str, str]:
    """Hashes by name, in the format of sha256sum."""
    lines = (line.partition(" ") for line in sums.decode(errors="replace").splitlines())
    return {name.strip().lstrip("*"): digest for digest, _, name in lines}


def _with_code(resource: Mapping[str, Any], place: Mapping[str, str]) -> Mapping[str, Any]:
    if resource["Type"] != _FUNCTION:
        return resource
    return {**resource, "Properties": {**resource["Properties"], "CodeUri": dict(place)}}
