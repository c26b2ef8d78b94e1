"""The package URL (purl) of a vulnerable package, or None where the kind of package is not certain; and the way back.

Source: package-url/purl-spec, types; Inspector's `packageManager` and `platform` words.
"""

from __future__ import annotations

from packageurl import PackageURL

from chalicelib.domain.images.finding import Package

_LANGUAGE_TYPES = {
    "BUNDLER": "gem",
    "GEMSPEC": "gem",
    "CARGO": "cargo",
    "COMPOSER": "composer",
    "NPM": "npm",
    "NODEPKG": "npm",
    "YARN": "npm",
    "NUGET": "nuget",
    "DOTNET_CORE": "nuget",
    "PIP": "pypi",
    "PIPENV": "pypi",
    "POETRY": "pypi",
    "PYTHONPKG": "pypi",
    "GOBINARY": "golang",
    "GOMOD": "golang",
    "JAR": "maven",
    "POM": "maven",
}
_SLASHED = ("npm", "composer", "golang")
# Longest beginning first where one begins another.
_DISTRIBUTIONS = (
    ("DEBIAN", "deb", "debian"),
    ("UBUNTU", "deb", "ubuntu"),
    ("ALPINE", "apk", "alpine"),
    ("WOLFI", "apk", "wolfi"),
    ("CHAINGUARD", "apk", "chainguard"),
    ("AMAZON_LINUX", "rpm", "amzn"),
    ("RHEL", "rpm", "redhat"),
    ("REDHAT", "rpm", "redhat"),
    ("RED_HAT", "rpm", "redhat"),
    ("CENTOS", "rpm", "centos"),
    ("ORACLE_LINUX", "rpm", "oracle"),
    ("ROCKY_LINUX", "rpm", "rocky"),
    ("ALMALINUX", "rpm", "almalinux"),
    ("ALMA_LINUX", "rpm", "almalinux"),
    ("FEDORA", "rpm", "fedora"),
    ("OPENSUSE", "rpm", "opensuse"),
    ("OPEN_SUSE", "rpm", "opensuse"),
    ("SUSE", "rpm", "suse"),
    ("PHOTON", "rpm", "photon"),
)
_ARCHITECTURES = {
    "deb": {"X86_64": "amd64", "AMD64": "amd64", "ARM64": "arm64", "AARCH64": "arm64", "ALL": "all", "NOARCH": "all"},
    "rpm": {"X86_64": "x86_64", "AMD64": "x86_64", "ARM64": "aarch64", "AARCH64": "aarch64", "NOARCH": "noarch"},
    "apk": {"X86_64": "x86_64", "AMD64": "x86_64", "ARM64": "aarch64", "AARCH64": "aarch64"},
}


def package_url(package: Package, platform: str | None) -> str | None:
    """`platform` is Inspector's word for the image's system (`DEBIAN_12`); it decides what an OS package is."""
    if not package.name or not package.manager:
        return None
    if package.manager == "OS":
        return _of_system(package, platform or "")
    if (kind := _LANGUAGE_TYPES.get(package.manager)) is None:
        return None
    parts = _name_parts(kind, package.name)
    return None if parts is None else _text(kind, parts[0], parts[1], package.version, {})


def package_name(purl: str) -> str | None:
    """The name that findings give to the package of a purl; None for what is no purl, or that of an image."""
    try:
        parts = PackageURL.from_string(purl)
    except ValueError:
        return None
    if parts.type in ("oci", "docker"):
        return None
    if parts.namespace and parts.type == "maven":
        return f"{parts.namespace}:{parts.name}"
    return f"{parts.namespace}/{parts.name}" if parts.namespace and parts.type in _SLASHED else parts.name


def _of_system(package: Package, platform: str) -> str | None:
    match = next((row for row in _DISTRIBUTIONS if platform.startswith(row[0])), None)
    if match is None:
        return None
    prefix, kind, namespace = match
    version, qualifiers = package.version, {}
    if kind == "rpm" and version and ":" in version:
        qualifiers["epoch"], _, version = version.partition(":")
    if arch := _ARCHITECTURES[kind].get((package.arch or "").upper()):
        qualifiers["arch"] = arch
    if release := platform.removeprefix(prefix).removeprefix("_LINUX").strip("_").replace("_", "."):
        qualifiers["distro"] = f"{namespace}-{release.lower()}"
    return _text(kind, namespace, package.name, version, qualifiers)


def _name_parts(kind: str, name: str) -> tuple[str | None, str] | None:
    """Namespace and name. A jar without its group could be any project's."""
    if kind == "maven":
        group, colon, artifact = name.partition(":")
        return (group, artifact) if colon and group and artifact else None
    if kind in _SLASHED and "/" in name:
        namespace, _, rest = name.rpartition("/")
        return (namespace, rest) if namespace and rest else None
    return None, name


def _text(kind: str, namespace: str | None, name: str, version: str | None, qualifiers: dict[str, str]) -> str | None:
    try:
        return PackageURL(kind, namespace, name, version, qualifiers or None).to_string()
    except ValueError:
        # A name that the type's own rules forbid is no package of that type.
        return None
