"""What the bundle is made of, as a CycloneDX document (1.6). No I/O but the zip it is given.

The versions are those that lie in the bundle, the hashes those of `requirements*.txt`: one of them is the file that was
installed. The same bundle and time give the same bytes.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.message import Message
from email.parser import HeaderParser
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from chalicelib import __version__
from chalicelib.errors import InputError

_PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)==(?P<version>[^\s;]+).*\\(?P<hashes>(?:\n    --hash=\S+( \\)?)+)", re.M)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
WITHOUT_METADATA = ("chalice",)
"""Chalice copies its own runtime into a bundle, and no word about it."""


class Pin(NamedTuple):
    version: str
    sha256: tuple[str, ...]


def read_pins(requirements: str) -> dict[str, Pin]:
    """What a compiled requirements file pins, by canonical name."""
    return {m["name"]: Pin(m["version"], tuple(_HASH.findall(m["hashes"]))) for m in _PIN.finditer(requirements)}


def bill_of_materials(bundle: zipfile.ZipFile, sha256: str, pins: Mapping[str, Pin], made_at: datetime) -> str:
    """JSON. `sha256` is the hash of the bundle itself. Raises InputError where the bundle holds what nobody pinned."""
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"lazaretto:{sha256}"))
    bom.metadata.timestamp = made_at
    ours = PackageURL("generic", name="lazaretto", version=__version__)
    bom.metadata.component = _component(ours, (sha256,), "Apache-2.0", ComponentType.APPLICATION)
    for name, version, words in _held(bundle):
        pin = pins.get(name)
        if pin is None or version not in (None, pin.version):
            raise InputError(f"the bundle holds {name} {version or ''}, which no requirements file pins")
        purl = PackageURL("pypi", name=name, version=pin.version)
        bom.components.add(_component(purl, pin.sha256, words))
    bom.register_dependency(bom.metadata.component, bom.components)
    return str(JsonV1Dot6(bom).output_as_string(indent=2)) + "\n"


def _held(bundle: zipfile.ZipFile) -> Iterator[tuple[str, str | None, str | None]]:
    """Canonical name, version where the bundle says it, and licence of every package in the bundle."""
    names = bundle.namelist()
    for path in names:
        if _METADATA.fullmatch(path):
            told = HeaderParser().parsestr(bundle.read(path).decode())
            yield re.sub(r"[-_.]+", "-", told["Name"]).lower(), told["Version"], _license(told)
    for package in WITHOUT_METADATA:
        if f"{package}/__init__.py" in names:
            yield package, None, None


def _license(told: Message) -> str | None:
    """The SPDX expression, else a licence's short name: whole texts stand in that field, too."""
    words = str(told["License-Expression"] or told["License"] or "").strip()
    return words if words and "\n" not in words else None


def _component(
    purl: PackageURL, sha256: tuple[str, ...], words: str | None, kind: ComponentType = ComponentType.LIBRARY
) -> Component:
    return Component(
        name=purl.name,
        version=purl.version,
        type=kind,
        bom_ref=purl.to_string(),
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in sha256],
        licenses=[LicenseFactory().make_from_string(words)] if words else [],
    )
