"""How images and registries are named outside: by workloads, by AWS's console, and in the list of watched registries.

A workload's name, `host/repository:tag@digest`, may hold a tag alone and mean another image tomorrow; everything stored
goes by `ImageRef`. The console's URLs are no API: people follow them, code does not.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import msgspec

from chalicelib.domain.images.image import (
    ACCOUNT,
    DIGEST,
    PARTITIONS,
    PUBLIC_REGION,
    REGION,
    REPOSITORY,
    ImageRef,
    Repository,
    Source,
    partition,
)


class RegistryPlace(msgspec.Struct, frozen=True, order=True):
    """`account` None: our own, whose id is not needed."""

    region: str
    account: str | None = None

    def __str__(self) -> str:
        """As people write it: `eu-west-1` or `111122223333/eu-west-1`."""
        return self.region if self.account is None else f"{self.account}/{self.region}"

    @classmethod
    def parse(cls, text: str) -> RegistryPlace:
        """From what `str` makes. Raises ValueError."""
        account, slash, region = text.rpartition("/")
        if (slash and not ACCOUNT.fullmatch(account)) or not REGION.fullmatch(region):
            raise ValueError(f"{text!r} is neither a Region (eu-west-1) nor 111122223333/eu-west-1")
        return cls(region, account or None)


class PublicRegistry(msgspec.Struct, frozen=True):
    """Sweeps alone know it: it sends no events, scans nothing and does not replicate. `aliases` that are in force, the
    primary one first: by it our references name the registry. There is one at least."""

    account: str
    aliases: tuple[str, ...]

    @property
    def name(self) -> str:
        """As a reference names it."""
        return f"public/{self.aliases[0]}"

    def owns(self, home: Repository) -> bool:
        """Whether it is ours, by whichever alias."""
        return home.public and home.registry.removeprefix("public/") in self.aliases


# Also the hosts of FIPS and dual-stack endpoints. The own name of a VPC endpoint names no account. A port does not make
# another registry, and may begin with any number of zeros (Go, net.Dial).
_PRIVATE = re.compile(
    r"(?:(?P<account>[0-9]{12})|(?P<endpoint>vpce-[a-z0-9-]+))\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)"
    r"\.(?P<domain>[a-z0-9.-]+)(?::0*[0-9]{1,5})?"
)
_PUBLIC = re.compile(r"(?:public\.ecr\.aws|ecr-public\.aws\.com)(?::0*[0-9]{1,5})?")
_ENDPOINTS = frozenset(f"vpce.{one.suffix}" for one in PARTITIONS)
AWS_DOMAINS = _ENDPOINTS.union(*((one.suffix, one.dual_stack) for one in PARTITIONS))
"""Where AWS answers for a registry. The owner of another domain can put the name of any registry before it."""
_LATEST = "latest"
_LONGEST = 1000


class ImageName(msgspec.Struct, frozen=True):
    """`digest` None: the name holds a tag alone. `tag` is None where a digest stands without one."""

    home: Repository
    tag: str | None = None
    digest: str | None = None

    def pinned(self, digest: str | None) -> ImageName:
        """With the digest the name was resolved to, where that is known."""
        return msgspec.structs.replace(self, digest=digest) if digest else self

    @property
    def short(self) -> str:
        """Without the registry's host; of a digest the first twelve digits."""
        if self.tag:
            return f"{self.home.name}:{self.tag}"
        return f"{self.home.name}@{self.digest[:19]}" if self.digest else self.home.name

    def __str__(self) -> str:
        """As docker would pull it."""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.home.uri}{tag}@{self.digest}" if self.digest else f"{self.home.uri}{tag}"


def image_name(text: str | None) -> ImageName | None:
    """None: it names no image in ECR. A name without tag and digest means `latest`, as it does for a pull."""
    host, _, rest = (text or "")[:_LONGEST].strip().partition("/")
    path, at, digest = rest.partition("@")
    path, _, tag = path.partition(":")
    home = repository_at(host.lower(), path)
    if home is None or (at and not DIGEST.fullmatch(digest)):
        return None
    return ImageName(home, tag or (None if at else _LATEST), digest or None)


def private_registry(text: str) -> RegistryPlace | None:
    """The private registry whose host AWS answers for; `account` None: the host is a VPC endpoint's own name.
    None: the text begins with no such host."""
    m = _PRIVATE.fullmatch(text.strip().partition("/")[0].lower())
    if m is None or not REGION.fullmatch(m["region"]):
        return None
    domain = m["domain"].removesuffix(".")
    return RegistryPlace(m["region"], m["account"]) if domain in (AWS_DOMAINS if m["account"] else _ENDPOINTS) else None


def repository_at(host: str, path: str) -> Repository | None:
    """None: no registry of ECR has that host, or no repository that path."""
    if _PUBLIC.fullmatch(host):
        alias, _, name = path.partition("/")
        return Repository(f"public/{alias}", PUBLIC_REGION, name) if alias and REPOSITORY.fullmatch(name) else None
    m = _PRIVATE.fullmatch(host)
    if m is None or m["endpoint"] or not REPOSITORY.fullmatch(path):
        return None
    return Repository(m["account"], m["region"], path)


_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-eusc": "console.amazonaws-eusc.eu",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def console_url(ref: ImageRef, source: Source | None) -> str:
    """The finding list in the AWS console: Inspector's page of the image, else ECR's; a public image's gallery page."""
    if ref.home.public:
        return f"https://gallery.ecr.aws/{quote(ref.registry.removeprefix('public/'))}/{quote(ref.repository)}"
    console = f"https://{_CONSOLES.get(partition(ref.region).name, _CONSOLES['aws'])}"
    region = quote(ref.region, safe="")
    if source is Source.ENHANCED:
        image = quote(f"{ref.repository}/{ref.digest}", safe="")
        return f"{console}/inspector/v2/home?region={region}#/findings/container-image/{image}"
    place = f"{quote(ref.registry, safe='')}/{quote(ref.repository)}/_/image/{quote(ref.digest, safe=':')}"
    return f"{console}/ecr/repositories/private/{place}/scan-results?region={region}"
