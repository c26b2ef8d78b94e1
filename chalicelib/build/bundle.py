"""Checks of a function's bundle and its CloudFormation template. Pure: nothing is built here.

Each check returns its complaints as sentences. The limits are ours; what Lambda brings (boto3 and its requirements)
must not be in the bundle, which would triple.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

MAX_UNZIPPED_BYTES = 20_000_000
"""Sources and their bytecode, which takes as much room and halves the CPU time of a cold start."""
REQUIRED = (
    "app.py",
    "chalice",
    "chalicelib/default_policy.yaml",
    "chalicelib/__init__.py",
    "aws_lambda_powertools",
    "cachetools",
    "jmespath",
    "msgspec",
    "packageurl",
    "yaml",
)
FORBIDDEN = (
    "boto3",
    "botocore",
    "chalicelib/build",
    "chalicelib/cli",
    "chalicelib/forwarder",
    "chalicelib/local",
    "moto",
    "pip",
    "rich",
    "s3transfer",
    "setuptools",
    "tests",
    "typer",
)
PARTIAL_FAILURES = "ReportBatchItemFailures"
TRACES = ("/direct_url.json", "/INSTALLER", "/REQUESTED")
"""An installer's notes about its machine."""
_UNCHECKED_HASH = 1
_CACHE = "__pycache__"


def check_bundle(bundle: zipfile.ZipFile) -> list[str]:
    names = bundle.namelist()
    complaints = [f"the bundle lacks {path}" for path in REQUIRED if not _holds(names, path)]
    complaints += [f"the bundle holds {path}" for path in FORBIDDEN if _holds(names, path)]
    complaints += [f"the bundle holds the left-over {n}" for n in names if _is_left_over(n)]
    if (size := unzipped_bytes(bundle)) > MAX_UNZIPPED_BYTES:
        complaints.append(f"the bundle is {size:,} bytes unzipped, more than {MAX_UNZIPPED_BYTES:,}")
    return complaints


def check_bytecode(bundle: zipfile.ZipFile, template: Mapping[str, Any]) -> list[str]:
    """Each source has bytecode of the functions' Python version, which no cold start compares with it."""
    functions = [r["Properties"] for r in template["Resources"].values() if _is_function(r)]
    runtimes = {str(function["Runtime"]) for function in functions}
    if len(runtimes) != 1:
        return [f"the functions have no common runtime: {', '.join(sorted(runtimes))}"]
    tag = runtimes.pop().replace("python", "cpython-").replace(".", "")
    held = {n for n in bundle.namelist() if n.endswith(".pyc")}
    expected = {_compiled(n, tag) for n in bundle.namelist() if n.endswith(".py")}
    complaints = [f"the bundle lacks {name}" for name in sorted(expected - held)]
    complaints += [f"the bundle holds {name}, which no function reads" for name in sorted(held - expected)]
    for name in sorted(held & expected):
        if int.from_bytes(bundle.read(name)[4:8], "little") != _UNCHECKED_HASH:  # PEP 552: magic, then flags
            complaints.append(f"{name} would be compared with its source at every start")
    return complaints


def check_template(template: Mapping[str, Any]) -> list[str]:
    """Event sources, their queues, and separate roles in the merged SAM template."""
    resources: Mapping[str, Mapping[str, Any]] = template["Resources"]
    functions = {n: r for n, r in resources.items() if _is_function(r)}
    strays = [f"{name} has no Type: nothing to merge it into" for name, r in resources.items() if "Type" not in r]
    roles = [str(f["Properties"]["Role"]) for f in functions.values()]
    if len(set(roles)) != len(roles):
        strays.append("two functions share a role")
    stage = str(template["Parameters"]["Stage"]["Default"])
    queues = [r["Properties"] for r in resources.values() if r.get("Type") == "AWS::SQS::Queue"]
    by_name = {str(queue["QueueName"]["Fn::Sub"]).replace("${Stage}", stage): queue for queue in queues}
    for name, function in functions.items():
        for event, source in function["Properties"].get("Events", {}).items():
            if source["Type"] == "SQS":
                strays += _check_source(f"{name}.{event}", source["Properties"], function["Properties"], by_name)
    return strays


def unzipped_bytes(bundle: zipfile.ZipFile) -> int:
    return sum(entry.file_size for entry in bundle.infolist())


def bytes_by_top_level(bundle: zipfile.ZipFile) -> dict[str, int]:
    """Unzipped bytes of each top-level name, largest first."""
    sizes: dict[str, int] = {}
    for entry in bundle.infolist():
        top = entry.filename.split("/")[0]
        sizes[top] = sizes.get(top, 0) + entry.file_size
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _holds(names: Iterable[str], path: str) -> bool:
    return any(n == path or n == f"{path}.py" or n.startswith(f"{path}/") for n in names)


def _is_left_over(name: str) -> bool:
    return (
        "/." in name or name.endswith(TRACES) or (name.endswith(".pyc") and PurePosixPath(name).parent.name != _CACHE)
    )


def _compiled(source: str, tag: str) -> str:
    path = PurePosixPath(source)
    return str(path.parent / _CACHE / f"{path.stem}.{tag}.pyc")


def _is_function(resource: Mapping[str, Any]) -> bool:
    return bool(resource.get("Type") == "AWS::Serverless::Function")


def _check_source(
    where: str, source: Mapping[str, Any], function: Mapping[str, Any], queues: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    complaints = []
    if source.get("FunctionResponseTypes") != [PARTIAL_FAILURES]:
        complaints.append(f"{where} does not report partial failures: Lambda would delete the bad messages")
    if "MaximumConcurrency" not in source.get("ScalingConfig", {}):
        complaints.append(f"{where} has no MaximumConcurrency")
    name = str(source["Queue"].get("Fn::Sub", "")).rpartition(":")[2]
    if (queue := queues.get(name)) is None:
        return [*complaints, f"{where} reads {name!r}, which no resource creates"]
    window = source.get("MaximumBatchingWindowInSeconds", 0)
    if queue["VisibilityTimeout"] < 6 * function["Timeout"] + window:
        complaints.append(f"{where}: visibility of {name} is under six time-outs and the window")
    if "RedrivePolicy" not in queue:
        complaints.append(f"{where}: {name} has no dead-letter queue")
    return complaints
