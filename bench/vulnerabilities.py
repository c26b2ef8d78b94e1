"""A made-up catalogue of vulnerabilities with texts of realistic length. Equal seeds give equal catalogues.

Twelve base layers share most of it, so that content repeats from image to image as in a real registry.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

BASES = 12
SIZE = 6_000
SEVERITIES = {"CRITICAL": 3, "HIGH": 17, "MEDIUM": 40, "LOW": 25, "INFORMATIONAL": 7, "UNTRIAGED": 8}
LOWEST_SCORE = {"CRITICAL": 9.0, "HIGH": 7.0, "MEDIUM": 4.0, "LOW": 0.1}
_OF_THE_SYSTEM = """
bash busybox bzip2 coreutils curl dbus expat gawk gcc git glibc gnutls krb5 libgcrypt libpng libssh2 libtiff libxml2
lz4 musl ncurses nghttp2 nginx openssh openssl pam perl postgresql readline sed shadow sqlite systemd tar util-linux
xz zlib zstd
"""
_OF_LANGUAGES = """
django express flask golang.org/x/crypto golang.org/x/net guava jackson-databind jinja2 lodash log4j-core minimist
netty numpy pillow requests semver snakeyaml spring-web urllib3 ws
"""
_NOUNS = "buffer certificate cookie decoder handshake header index kernel length parser path queue request"
_VERBS = "allows bypasses corrupts crashes exhausts exposes forges leaks overflows reads skips truncates"
_REST = "a an attacker by crafted file from in local memory of on remote the through to when with without"
PACKAGES, LIBRARIES = _OF_THE_SYSTEM.split(), _OF_LANGUAGES.split()
NOUNS, VERBS, REST = _NOUNS.split(), _VERBS.split(), _REST.split()
MANAGERS = ("PYTHONPKG", "NODEPKG", "GOMOD", "JAR")


@dataclass(frozen=True)
class AffectedPackage:
    name: str
    version: str
    release: str | None
    manager: str
    path: str | None
    fixed_version: str


@dataclass(frozen=True)
class Vulnerability:
    """`score` None: no rating. `epss` None: no estimate. Times are the day of publication since 1970."""

    number: int
    id: str
    severity: str
    score: float | None
    vector: str | None
    epss: float | None
    exploited: bool
    fixed: str
    description: str
    references: tuple[str, ...]
    related: tuple[str, ...]
    packages: tuple[AffectedPackage, ...]
    published_day: int


@cache
def catalogue(seed: int) -> tuple[Vulnerability, ...]:
    return tuple(_vulnerability(random.Random(f"{seed}/vulnerability/{n}"), n) for n in range(SIZE))


@cache
def base(seed: int, number: int) -> tuple[Vulnerability, ...]:
    """Half of the catalogue in the order of this base layer: an image takes from the front what it has room for."""
    known = list(catalogue(seed))
    random.Random(f"{seed}/base/{number}").shuffle(known)
    return tuple(known[: SIZE // 2])


def _vulnerability(rng: random.Random, number: int) -> Vulnerability:
    severity = rng.choices(list(SEVERITIES), list(SEVERITIES.values()))[0]
    low = LOWEST_SCORE.get(severity)
    year = rng.randint(2016, 2026)
    identifier = f"CVE-{year}-{10_000 + number}" if rng.random() < 0.95 else f"GHSA-{number:04x}-{year:04x}-made"
    return Vulnerability(
        number=number,
        id=identifier,
        severity=severity,
        score=None if low is None else round(rng.uniform(low, low + 0.9), 1),
        vector=None if low is None else _vector(rng),
        epss=None if rng.random() < 0.05 else round(rng.random() ** 6, 5),
        exploited=rng.random() < 0.02,
        fixed=rng.choices(("YES", "NO", "PARTIAL"), (70, 25, 5))[0],
        description=_sentence(rng, rng.randint(20, 140)),
        references=tuple(f"https://example.invalid/{year}/{number}/{n}" for n in range(rng.randint(1, 8))),
        related=(f"GHSA-{number:04x}-{rng.randrange(16**4):04x}-made",) if rng.random() < 0.3 else (),
        packages=_packages(rng),
        published_day=(year - 1970) * 365 + rng.randrange(300),
    )


def _packages(rng: random.Random) -> tuple[AffectedPackage, ...]:
    language = rng.random() < 0.3
    names = rng.sample(LIBRARIES if language else PACKAGES, rng.choices((1, 2, 3), (75, 18, 7))[0])
    manager = rng.choice(MANAGERS) if language else "OS"
    minor = rng.randrange(40)
    return tuple(
        AffectedPackage(
            name=name,
            version=f"{rng.randrange(1, 9)}.{minor}.{rng.randrange(20)}",
            release=None if language else f"{rng.randrange(1, 9)}+deb12u{rng.randrange(1, 5)}",
            manager=manager,
            path=f"srv/app/{name}/METADATA" if language else None,
            fixed_version=f"9.{minor}.{rng.randrange(20)}",
        )
        for name in names
    )


def _vector(rng: random.Random) -> str:
    metrics = {"AV": "NALP", "AC": "LH", "PR": "NLH", "UI": "NR", "S": "UC", "C": "NLH", "I": "NLH", "A": "NLH"}
    return "CVSS:3.1/" + "/".join(f"{name}:{rng.choice(values)}" for name, values in metrics.items())


def _sentence(rng: random.Random, words: int) -> str:
    picked = (rng.choice(REST if n % 3 else NOUNS if n % 2 else VERBS) for n in range(words))
    return (" ".join(picked).capitalize() + ".")[:1024]
