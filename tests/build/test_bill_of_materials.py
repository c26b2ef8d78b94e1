"""What the bill of materials says of a bundle: what lies in it, as pinned, and nothing else."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from chalicelib import __version__
from chalicelib.build.release import Pin, bill_of_materials, read_pins
from chalicelib.errors import InputError

ROOT = Path(__file__).parents[2]
MADE_AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
SHA256 = "ab" * 32
PINS = {
    "py-yaml": Pin("6.0.4", ("01" * 32, "02" * 32)),
    "chalice": Pin("1.34.0", ("03" * 32,)),
    "not-held": Pin("1", ("04" * 32,)),
}
METADATA = "Metadata-Version: 2.4\nName: Py_YAML\nVersion: 6.0.4\nLicense-Expression: MIT\n\nA description.\n"


def bundle(**files: str) -> zipfile.ZipFile:
    packed = zipfile.ZipFile(io.BytesIO(), "w")
    for name, text in {"chalice/__init__.py": "", "py_yaml-6.0.4.dist-info/METADATA": METADATA, **files}.items():
        packed.writestr(name, text)
    return packed


def written(packed: zipfile.ZipFile, sha256: str = SHA256) -> str:
    return bill_of_materials(packed, sha256, PINS, MADE_AT)


def test_it_lists_what_lies_in_the_bundle_with_the_pinned_hashes() -> None:
    document = json.loads(written(bundle()))
    listed = {c["purl"]: [h["content"] for h in c["hashes"]] for c in document["components"]}
    assert listed == {
        "pkg:pypi/py-yaml@6.0.4": ["01" * 32, "02" * 32],
        "pkg:pypi/chalice@1.34.0": ["03" * 32],
    }
    (licensed,) = [c for c in document["components"] if "licenses" in c]
    assert licensed["licenses"] == [{"license": {"id": "MIT"}}]


def test_it_is_about_the_bundle_of_this_hash_and_version() -> None:
    document = json.loads(written(bundle()))
    ours = document["metadata"]["component"]
    assert (ours["name"], ours["version"]) == ("lazaretto", __version__)
    assert ours["hashes"] == [{"alg": "SHA-256", "content": SHA256}]
    (needs,) = [d["dependsOn"] for d in document["dependencies"] if d["ref"] == ours["bom-ref"]]
    assert needs == ["pkg:pypi/chalice@1.34.0", "pkg:pypi/py-yaml@6.0.4"]
    assert document["metadata"]["timestamp"] == "2026-05-04T03:02:01+00:00"


def test_the_document_is_valid_by_the_schema() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written(bundle())) is None


def test_the_same_bundle_gives_the_same_bytes_and_another_one_another_number() -> None:
    assert written(bundle()) == written(bundle())
    first, other = (json.loads(written(bundle(), sha256))["serialNumber"] for sha256 in (SHA256, "cd" * 32))
    assert first != other


@pytest.mark.parametrize("told", [METADATA.replace("6.0.4", "6.0.5"), METADATA.replace("Py_YAML", "stranger")])
def test_a_bundle_that_holds_what_nobody_pinned_has_no_bill(told: str) -> None:
    with pytest.raises(InputError, match="which no requirements file pins"):
        written(bundle(**{"other.dist-info/METADATA": told}))


@pytest.mark.parametrize("field", ["License: a whole\n  text of it\n", "Summary: none is named\n"])
def test_a_licence_that_is_no_short_name_is_left_out(field: str) -> None:
    told = METADATA.replace("License-Expression: MIT\n", field)
    document = json.loads(written(bundle(**{"py_yaml-6.0.4.dist-info/METADATA": told})))
    assert not [c for c in document["components"] if "licenses" in c]


def test_every_pin_of_the_requirements_is_read_with_its_hashes() -> None:
    text = (ROOT / "requirements.txt").read_text()
    pins = read_pins(text)
    assert {"msgspec", "pyyaml", "aws-lambda-powertools"} <= pins.keys()
    assert sum(len(pin.sha256) for pin in pins.values()) == text.count("--hash=sha256:")
