"""The artefact that is deployed: found, checked, and the same text for the same content."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chalicelib.build.package import write_sums
from chalicelib.cli.deploy import artefact
from chalicelib.cli.deploy.artefact import find_artefact
from chalicelib.errors import InputError, UpstreamError
from tests.fakes.installation import template, write_artefact


def test_an_artefact_is_read_and_its_code_placed(tmp_path: Path) -> None:
    found = find_artefact("dev", write_artefact(tmp_path))
    placed = json.loads(found.placed("bucket", "key.zip"))
    assert placed["Resources"]["OnScans"]["Properties"]["CodeUri"] == {"Bucket": "bucket", "Key": "key.zip"}
    assert placed["Resources"]["Table"] == found.template["Resources"]["Table"]
    assert found.template["Resources"]["OnScans"]["Properties"]["CodeUri"] == "./deployment.zip"


def test_the_same_content_is_the_same_text(tmp_path: Path) -> None:
    said = template()
    other = dict(reversed(said.items()))
    texts = {
        find_artefact("dev", write_artefact(tmp_path / name, content)).placed("b", "k")
        for name, content in (("a", said), ("b", other))
    }
    assert len(texts) == 1


@pytest.mark.parametrize("name", ["deployment.zip", "sam.json"])
def test_a_folder_without_it_is_no_artefact(tmp_path: Path, name: str) -> None:
    (write_artefact(tmp_path) / name).unlink()
    with pytest.raises(InputError, match=r"must hold deployment\.zip and sam\.json"):
        find_artefact("dev", tmp_path)


@pytest.mark.parametrize(
    ("name", "content"), [("deployment.zip", "x"), ("sam.json", "{"), ("sam.json", "[]"), ("sam.json", "{}")]
)
def test_what_cannot_be_read_is_no_artefact(tmp_path: Path, name: str, content: str) -> None:
    (write_artefact(tmp_path) / name).write_text(content)
    write_sums(tmp_path)
    with pytest.raises(InputError, match="holds no artefact of Lazaretto"):
        find_artefact("dev", tmp_path)


def test_what_is_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not fit to be deployed: the bundle lacks msgspec"):
        find_artefact("dev", write_artefact(tmp_path, None, "msgspec"))


def test_the_hashes_of_a_release_are_held_to(tmp_path: Path) -> None:
    write_artefact(tmp_path)
    files = ("deployment.zip", "sam.json")
    sums = "".join(f"{hashlib.sha256((tmp_path / n).read_bytes()).hexdigest()}  {n}\n" for n in files)
    (tmp_path / "SHA256SUMS").write_text(sums)
    assert find_artefact("dev", tmp_path).template["Outputs"]
    with (tmp_path / "deployment.zip").open("ab") as bundle:
        bundle.write(b"x")
    with pytest.raises(InputError, match=r"deployment\.zip is not the one of the release"):
        find_artefact("dev", tmp_path)
    write_artefact(tmp_path)
    (tmp_path / "SHA256SUMS").write_text(sums.splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"sam\.json is not the one of the release"):
        find_artefact("dev", tmp_path)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_folder_without_hashes_is_not_deployed(tmp_path: Path) -> None:
    """Who can write the folder would run code with the rights of the functions."""
    (write_artefact(tmp_path) / "SHA256SUMS").unlink()
    with pytest.raises(InputError, match="holds no SHA256SUMS: add the one of the release, or give --sums-sha256"):
        find_artefact("dev", tmp_path)


def test_the_hash_of_the_hashes_is_held_to(tmp_path: Path) -> None:
    sums = (write_artefact(tmp_path) / "SHA256SUMS").read_bytes()
    assert find_artefact("dev", tmp_path, sha256(sums).upper()).bundle
    with (tmp_path / "deployment.zip").open("ab") as bundle:
        bundle.write(b"x")
    write_sums(tmp_path)
    with pytest.raises(InputError, match="--sums-sha256 is not the hash of the SHA256SUMS"):
        find_artefact("dev", tmp_path, sha256(sums))


def test_without_hashes_their_hash_is_that_of_both_files(tmp_path: Path) -> None:
    """`sha256sum deployment.zip sam.json | sha256sum`."""
    (write_artefact(tmp_path) / "SHA256SUMS").unlink()
    lines = "".join(f"{sha256((tmp_path / n).read_bytes())}  {n}\n" for n in ("deployment.zip", "sam.json"))
    assert find_artefact("dev", tmp_path, sha256(lines.encode())).bundle
    with (tmp_path / "deployment.zip").open("ab") as bundle:
        bundle.write(b"x")
    with pytest.raises(InputError, match="--sums-sha256 is not the hash"):
        find_artefact("dev", tmp_path, sha256(lines.encode()))


@pytest.mark.parametrize("sums", [b"", b"\n", b"0123456789abcdef\n", b"\xff\xfe"])
def test_hashes_that_promise_nothing_let_nothing_pass(tmp_path: Path, sums: bytes) -> None:
    """A release's list of hashes that was cut short is no list to trust."""
    (write_artefact(tmp_path) / "SHA256SUMS").write_bytes(sums)
    with pytest.raises(InputError, match=r"is not the one of the release|holds no artefact"):
        find_artefact("dev", tmp_path)


def test_a_template_that_is_no_text_is_no_artefact(tmp_path: Path) -> None:
    (write_artefact(tmp_path) / "sam.json").write_bytes(b"\xff{")
    write_sums(tmp_path)
    with pytest.raises(InputError, match="holds no artefact of Lazaretto"):
        find_artefact("dev", tmp_path)


def test_an_installed_lazaretto_has_nothing_to_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefact, "TREE", tmp_path)
    with pytest.raises(InputError, match="without its sources: give --artifact"):
        find_artefact("dev", None)


def packaging(monkeypatch: pytest.MonkeyPatch, tree: Path, code: int) -> list[dict[str, Any]]:
    for name in ("app.py", "Makefile", ".chalice/resources.json"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    (tree / "build").mkdir()
    asked: list[dict[str, Any]] = []

    def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        asked.append({"command": command, **how})
        write_artefact(tree / "build/package", template(how["env"]["LAZARETTO_STAGE"]))
        return subprocess.CompletedProcess(command, code, "NOT FIT: heavy\n", "make: error\n")

    monkeypatch.setattr(artefact, "TREE", tree)
    monkeypatch.setattr(artefact.subprocess, "run", run)
    return asked


def test_the_source_tree_is_packaged_for_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = packaging(monkeypatch, tmp_path, 0)
    assert find_artefact("prod", None).template["Parameters"]["Stage"]["Default"] == "prod"
    assert (asked[0]["command"], asked[0]["cwd"]) == (["make", "package"], tmp_path)


def test_what_fails_to_package_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packaging(monkeypatch, tmp_path, 2)
    with pytest.raises(UpstreamError, match="make package fails"):
        find_artefact("dev", None)
    assert "NOT FIT: heavy" in capsys.readouterr().err
