"""Builds the bundle and the CloudFormation template in build/package, and refuses what must not be deployed.

`make package` runs it. Chalice packages all of `chalicelib`, so it gets a copy of the tree without what is never
deployed. The stage is `LAZARETTO_STAGE` (default `dev`), as in app.py. Nothing here calls AWS.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chalicelib.build.bundle import (
    MAX_UNZIPPED_BYTES,
    bytes_by_top_level,
    check_bundle,
    check_bytecode,
    check_template,
    unzipped_bytes,
)
from chalicelib.build.seal import seal

BUILD = Path("build")
SPOKE = Path(__file__).parents[1] / "cli/deploy/spoke.json"
STAGED, OUT, UNPACKED, RUNTIME = BUILD / "stage", BUILD / "package", BUILD / "unpacked", BUILD / "runtime"
LEFT_OUT = ("build", "cli", "forwarder", "local")
LAMBDA_BRINGS = ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six.py")
NOT_INSTALLED = "Could not install dependencies"
UNSIGNED = "/v1/admission/token"
SUMS = "SHA256SUMS"
RUNS = 9
_TIME = "import sys, time; sys.path[:0] = {path!r}; t = time.perf_counter(); {work}; print(time.perf_counter() - t)"
_BASE = "import boto3; boto3.client('dynamodb')"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make package", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="has Chalice and boto3, and the functions' version"
    )
    parser.add_argument("--prove", action="store_true", help="build once more elsewhere and compare")
    given = parser.parse_args(arguments)
    python = given.python.absolute()
    stage = os.environ.get("LAZARETTO_STAGE", "dev")
    stage_tree(Path(), STAGED, stage)
    build(python, stage)
    template = json.loads((OUT / "sam.json").read_text())
    with zipfile.ZipFile(OUT / "deployment.zip") as bundle:
        complaints = check_bundle(bundle) + check_bytecode(bundle, template)
        _print_sizes(bundle)
        _unpack(bundle, python)
    complaints += check_template(template)
    complaints += lint_template(OUT / "sam.json") + lint_template(OUT / SPOKE.name)
    if not complaints:
        _print_import_time(python)
    if given.prove:
        complaints += prove(python, stage)
    for complaint in complaints:
        print(f"NOT FIT: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def stage_tree(tree: Path, staged: Path, stage: str) -> None:
    """Copies what Chalice packages, with `stage` as the only stage in its settings and the template."""
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    for name in ("app.py", "requirements.txt"):
        shutil.copy(tree / name, staged / name)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    shutil.copytree(tree / "chalicelib", staged / "chalicelib", ignore=ignored)
    for package in LEFT_OUT:
        shutil.rmtree(staged / "chalicelib" / package)
    shutil.copytree(tree / ".chalice", staged / ".chalice", ignore=shutil.ignore_patterns("deployments", "deployed"))
    _edit(staged / ".chalice/config.json", lambda config: config.update(stages={stage: config["stages"]["dev"]}))
    _edit(staged / ".chalice/resources.json", lambda template: _complete(template, stage, tree))


def build(python: Path, stage: str, staged: Path = STAGED, out: Path = OUT) -> None:
    """Runs Chalice on the staged tree, and seals the bundle in `out`, beside the template of spokes.

    Chalice exits with 0 when a dependency is missing, so its output is read."""
    shutil.rmtree(out, ignore_errors=True)
    command = [str(python.with_name("chalice")), "package", "--stage", stage]
    command += ["--merge-template", ".chalice/resources.json", str(out.absolute())]
    done = _run(command, cwd=staged, stage=stage)
    said = done.stdout + done.stderr
    print(said, end="")
    if done.returncode or NOT_INSTALLED in said:
        raise SystemExit("chalice package failed: nothing was built that could be deployed")
    seal(out / "deployment.zip", python)
    _edit(out / "sam.json", separate_token_route)
    shutil.copyfile(SPOKE, out / SPOKE.name)
    write_sums(out)


def separate_token_route(template: dict[str, Any]) -> None:
    """Moves the route that takes a token from the API that IAM guards into the one that its condition makes.

    Chalice knows one API. Within it a route cannot depend on a parameter: API Gateway serves a snapshot, which SAM
    makes anew only when the text of the API changes."""
    resources = template["Resources"]
    whole = resources["RestAPI"]["Properties"]["DefinitionBody"]
    shared = {k: v for k, v in whole.items() if k not in ("info", "paths", "securityDefinitions")}
    own = resources["AdmissionTokenAPI"]["Properties"]
    info = {**whole["info"], "title": own["Name"]}
    own["DefinitionBody"] = {**shared, "info": info, "paths": {UNSIGNED: whole["paths"].pop(UNSIGNED)}}


def prove(python: Path, stage: str) -> list[str]:
    """Builds the staged tree in a folder of another name, and compares the result with build/package."""
    with tempfile.TemporaryDirectory(prefix="another-folder-") as folder:
        staged, out = Path(folder, "stage"), Path(folder, "package")
        shutil.copytree(STAGED, staged, ignore=shutil.ignore_patterns("__pycache__", "deployments"))
        build(python, stage, staged, out)
        again = hashes(out)
    first = hashes(OUT)
    for name, value in first.items():
        print(f"sha256 {value}  {name}")
    return [f"two builds differ: {name}" for name in sorted(first.keys() | again) if first.get(name) != again.get(name)]


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder, by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def write_sums(folder: Path) -> None:
    """As `sha256sum` writes them, of each file of the folder: `lazaretto deploy --artifact` holds to them."""
    (folder / SUMS).unlink(missing_ok=True)
    (folder / SUMS).write_text("".join(f"{value}  {name}\n" for name, value in hashes(folder).items()))


def lint_template(path: Path) -> list[str]:
    """Errors of cfn-lint (its warnings are printed only)."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--non-zero-exit-code", "error", str(path)]
    done = _run(command)
    print(done.stdout, end="")
    print(f"cfn-lint: {'errors' if done.returncode else '0 errors'}")
    return [f"cfn-lint finds errors in {path.name}"] if done.returncode else []


def _complete(template: dict[str, Any], stage: str, tree: Path) -> None:
    """CloudFormation takes a dashboard as text; its source is readable JSON."""
    template["Parameters"]["Stage"].update(Default=stage, AllowedValues=[stage])
    body = json.dumps(json.loads((tree / ".chalice/dashboard.json").read_text()), separators=(",", ":"))
    template["Resources"]["Dashboard"]["Properties"]["DashboardBody"] = {"Fn::Sub": body}


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _unpack(bundle: zipfile.ZipFile, python: Path) -> None:
    """Unpacks the bundle as Lambda does, and links only what Lambda brings, so that a missing requirement shows."""
    for directory in (UNPACKED, RUNTIME):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    bundle.extractall(UNPACKED)
    site = Path(_ask(python, "import boto3; print(boto3.__path__[0])")).parent
    for name in LAMBDA_BRINGS:
        (RUNTIME / name).symlink_to(site / name)


def _print_sizes(bundle: zipfile.ZipFile) -> None:
    for name, size in bytes_by_top_level(bundle).items():
        print(f"  {size:>11,}  {name}")
    zipped = (OUT / "deployment.zip").stat().st_size
    print(f"bundle: {unzipped_bytes(bundle):,} bytes unzipped (at most {MAX_UNZIPPED_BYTES:,}), {zipped:,} zipped")


def _print_import_time(python: Path) -> None:
    """Interleaves the runs, so that other load affects both; only the ratio counts."""
    path = [str(UNPACKED.absolute()), str(RUNTIME.absolute())]
    pairs = [(_seconds(python, path, "import app"), _seconds(python, path, _BASE)) for _ in range(RUNS)]
    ours, base = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(
        f"import of app: {ratio:.2f} of `import boto3` and one client ({ours * 1e3:.0f} ms, {base * 1e3:.0f} ms here)"
    )


def _seconds(python: Path, path: list[str], work: str) -> float:
    return float(_ask(python, _TIME.format(path=path, work=work), "-I", "-S"))


def _ask(python: Path, code: str, *flags: str) -> str:
    command = [str(python), *flags, "-c", code]
    done = _run(command)
    if done.returncode:
        raise SystemExit(f"{code!r} failed in the bundle's interpreter:\n{done.stderr}")
    return done.stdout.strip()


def _run(command: list[str], cwd: Path | None = None, stage: str | None = None) -> subprocess.CompletedProcess[str]:
    """In our environment, with a Region for botocore and invalid credentials."""
    fixed = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "unused",
        "AWS_SECRET_ACCESS_KEY": "unused",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    ours = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env = {**ours, **fixed, **({"LAZARETTO_STAGE": stage} if stage else {})}
    return subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
