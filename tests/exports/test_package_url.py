from __future__ import annotations

import pytest

from chalicelib.domain.images.finding import Package
from chalicelib.exports.package_url import package_name, package_url


@pytest.mark.parametrize(
    ("package", "platform", "purl"),
    [
        (
            Package("libssl3", "3.0.13-1", "OS", arch="X86_64"),
            "DEBIAN_12",
            "pkg:deb/debian/libssl3@3.0.13-1?arch=amd64&distro=debian-12",
        ),
        (
            Package("g++", "1:2.0-1", "OS", arch="ARM64"),
            "UBUNTU_24_04",
            "pkg:deb/ubuntu/g%2B%2B@1:2.0-1?arch=arm64&distro=ubuntu-24.04",
        ),
        (
            Package("openssl", "2:1.0.2k-16", "OS", arch="X86_64"),
            "AMAZON_LINUX_2",
            "pkg:rpm/amzn/openssl@1.0.2k-16?arch=x86_64&distro=amzn-2&epoch=2",
        ),
        (Package("musl", "1.2.4-r2", "OS"), "ALPINE_LINUX_3_18", "pkg:apk/alpine/musl@1.2.4-r2?distro=alpine-3.18"),
        (Package("org.example:lib", "1.0", "JAR"), None, "pkg:maven/org.example/lib@1.0"),
        (Package("@scope/name", "1.0.0", "NODEPKG"), None, "pkg:npm/%40scope/name@1.0.0"),
        (Package("left-pad", None, "NPM"), None, "pkg:npm/left-pad"),
        (Package("Django_x", "4.2", "PYTHONPKG"), None, "pkg:pypi/django-x@4.2"),
        (Package("golang.org/x/net", "v0.1.0", "GOBINARY"), None, "pkg:golang/golang.org/x/net@v0.1.0"),
        (Package("serde", "1.0", "CARGO"), None, "pkg:cargo/serde@1.0"),
    ],
)
def test_a_package_of_a_known_kind_has_its_url(package: Package, platform: str | None, purl: str) -> None:
    assert package_url(package, platform) == purl


@pytest.mark.parametrize(
    ("package", "platform"),
    [
        (Package("libssl3", "3.0", "OS"), None),
        (Package("libssl3", "3.0", "OS"), "WINDOWS_SERVER_2022"),
        (Package("libssl3", "3.0"), "DEBIAN_12"),
        (Package("log4j-core", "2.0", "JAR"), None),
        (Package("x", "1", "A_MANAGER_OF_TOMORROW"), None),
        (Package("", "1", "NPM"), None),
        (Package("/", "1", "NPM"), None),
    ],
)
def test_a_package_that_is_not_certain_has_none(package: Package, platform: str | None) -> None:
    assert package_url(package, platform) is None


@pytest.mark.parametrize(
    ("purl", "name"),
    [
        ("pkg:deb/debian/libssl3@3.0.13-1?arch=amd64", "libssl3"),
        ("pkg:deb/ubuntu/g%2B%2B@1:2.0-1", "g++"),
        ("pkg:maven/org.example/lib@1.0", "org.example:lib"),
        ("pkg:npm/%40scope/name@1.0.0", "@scope/name"),
        ("pkg:npm/left-pad", "left-pad"),
        ("pkg:golang/golang.org/x/net@v0.1.0", "golang.org/x/net"),
        ("pkg:oci/api@sha256%3Aaaaa", None),
        ("pkg:docker/acme/api", None),
        ("libfoo", None),
        ("", None),
        ("pkg:", None),
    ],
)
def test_the_name_of_a_purl_is_the_one_that_findings_have(purl: str, name: str | None) -> None:
    assert package_name(purl) == name
