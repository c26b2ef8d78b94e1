"""Every query and path parameter of the API, declared once. What they do to an answer is the views' business."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from chalicelib.api.framework.query import Form, Parameter, flag, member, moment, number, text, whole, word
from chalicelib.domain.admission.admission import CLUSTER
from chalicelib.domain.images.finding import Ecosystem, FindingStatus, FixAvailable, Severity
from chalicelib.domain.images.image import DIGEST, REGION, REGISTRY, REPOSITORY, ScanState, Source
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import MAX_TEXT, WaiverState, canonical_id

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000
RATED = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFORMATIONAL)
FIX_WORDS = {
    "YES": FixAvailable.YES,
    "NO": FixAvailable.NO,
    "PARTIAL": FixAvailable.PARTIAL,
    "true": FixAvailable.YES,
    "false": FixAvailable.NO,
}


class SortKey(StrEnum):
    SEVERITY = "severity"
    SCORE = "score"
    EPSS = "epss"
    FIRST_SEEN = "first_seen"
    VULNERABILITY_ID = "vulnerability_id"


SORTS = tuple(sign + key for key in SortKey for sign in ("", "-"))
DEFAULT_SORT = "-severity"
DEFAULT_STATUS = (FindingStatus.OPEN, FindingStatus.SUPPRESSED)

IF_MATCH = Parameter[str](
    "If-Match",
    "The ETag by which the caller has seen the image: of `GET /v1/image`, or of a dry run",
    *text(
        '"?[A-Za-z0-9-]+([.][A-Za-z0-9-]+){3,5}([+][0-9]+-[0-9a-f]{12})?"?', "one ETag, as GET /v1/image gives it", 200
    ),
    place="header",
)
_DIGEST = text(DIGEST.pattern, "sha256: and 64 lower-case hexadecimal digits", 71)


def _id() -> Form[str]:
    """A vulnerability id, in any case."""
    read, schema = text(r"[A-Za-z0-9][A-Za-z0-9._:+~-]*", "a vulnerability id such as CVE-2026-0001", 128)
    return lambda value: canonical_id(read(value)), schema


_ID = _id()

REGISTRY_ = Parameter[str](
    "registry",
    "The registry: a 12-digit account id, or `public/<alias>`",
    *text(REGISTRY.pattern, "a 12-digit account id, or public/ and an alias", 60),
    example="111122223333",
)
REGION_ = Parameter[str](
    "region", "The AWS Region", *text(REGION.pattern, "a Region such as eu-west-1", 40), example="eu-west-1"
)
REPOSITORY_ = Parameter[str](
    "repository",
    "The repository's name, without the registry's host",
    *text(REPOSITORY.pattern, "a repository name such as team/api", 256),
    example="team/api",
)
JOB_ID = Parameter[str](
    "id", "The what-if, as its `POST` named it", *text(r"[0-9a-f]{16}", "16 hexadecimal digits", 16)
)
DIGEST_ = Parameter[str]("digest", "The image's digest; needs `repository`", *_DIGEST)
TAG = Parameter[str](
    "tag",
    "A tag, resolved to the digest it points at as last heard of by events; needs `repository`",
    *text(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", "a tag such as v1.2.3", 128),
)
VULNERABILITY_ID = Parameter[str]("vulnerability_id", "Exact id; related ids (GHSA, RHSA, ALAS, …) count too", *_ID)
VULNERABILITY_PATH = Parameter[str](
    "id", "Id of the vulnerability; its related ids meet too", *_ID, place="path", example="CVE-2026-0001"
)
PACKAGE = Parameter[str]("package", "Name of a package; `*` and `?` are wildcards", *text(max_length=256))
ECOSYSTEM = Parameter[tuple[Ecosystem, ...]](
    "ecosystem", "Operating system or language packages", *member(tuple(Ecosystem)), many=True
)
SEVERITY = Parameter[tuple[Severity, ...]]("severity", "One or more severities", *member(tuple(Severity)), many=True)
MIN_SEVERITY = Parameter[Severity](
    "min_severity", "This severity or worse; UNKNOWN counts as the policy's `unknown_severity`", *member(RATED)
)
STATUS = Parameter[tuple[FindingStatus, ...]](
    "status",
    "One or more states; RESOLVED ones only when asked for",
    *member(tuple(FindingStatus)),
    many=True,
    default=[str(s) for s in DEFAULT_STATUS],
)
SOURCE = Parameter[tuple[Source, ...]]("source", "Which scanner", *member(tuple(Source)), many=True)
FIX_AVAILABLE = Parameter[tuple[str, ...]](
    "fix_available", "Whether its packages have a fix: `true` is YES, `false` is NO", *word(FIX_WORDS), many=True
)
KEV = Parameter[bool]("kev", "Known to be exploited (CISA); a finding not looked up is neither true nor false", *flag())
MIN_EPSS = Parameter[float]("min_epss", "EPSS of at least this; a finding without one does not match", *number(0, 1))
FIRST_SEEN_AFTER = Parameter[datetime](
    "first_seen_after", "First seen in its image after this time", *moment(), example="2026-03-01T00:00:00Z"
)
SORT = Parameter[str](
    "sort",
    "Order; `-` reverses it (`-severity`: worst first). What has no value comes last. Other orders than `-severity` "
    "need an image, a repository or a vulnerability id of at most 200 images",
    *word(SORTS),
    default=DEFAULT_SORT,
)
DECISION = Parameter[tuple[Decision, ...]]("decision", "One or more decisions", *member(tuple(Decision)), many=True)
SCAN_STATE = Parameter[tuple[ScanState, ...]](
    "scan_state", "One or more scan states", *member(tuple(ScanState)), many=True
)
WAIVER_ID = Parameter[str](
    "id", "The waiver's id", *text(r"w-[0-9a-f]{10}", "a waiver's id such as w-0123456789", 12), example="w-0123456789"
)
WAIVER_STATE = Parameter[tuple[WaiverState, ...]](
    "state",
    "One or more states; `expiring` ones are in force and end within seven days",
    *member(tuple(WaiverState)),
    many=True,
)
REASON = Parameter[str]("reason", "Why, for the audit log", *text(max_length=MAX_TEXT))
LIMIT = Parameter[int]("limit", "How many rows at most", *whole(1, LIMIT_MAX), default=LIMIT_DEFAULT)
CURSOR = Parameter[str](
    "cursor",
    "`next_cursor` of the former page; valid for 24 hours, for the same filters and order",
    *text(r"[A-Za-z0-9_-]+", "a cursor as it was given", 4096),
)
TIMEOUT = Parameter[str](
    "timeout",
    "How long the Kubernetes API server waits, as it says of itself; nothing hangs on it",
    *text(r"[0-9a-z.]+", "a duration such as 10s", 32),
    example="10s",
)
CLUSTER_ = Parameter[str](
    "cluster",
    "Which cluster asks: the UID of its namespace kube-system. What it admits is remembered under it",
    *text(CLUSTER.pattern, "1 to 128 letters, digits, `.`, `_`, `-`", 128),
    example="2f1c8a34-5d0e-4a53-9b0e-0d6c5b6f7a11",
)

PLACE = (REGISTRY_, REGION_, REPOSITORY_)
PLACE_NEEDED = (REGISTRY_, REGION_, REPOSITORY_.needed())
IMAGE = (*PLACE, DIGEST_, TAG)
IMAGE_NEEDED = (*PLACE_NEEDED, DIGEST_, TAG)
PAGE = (LIMIT, CURSOR)
FINDING = (
    VULNERABILITY_ID,
    PACKAGE,
    ECOSYSTEM,
    SEVERITY,
    MIN_SEVERITY,
    STATUS,
    SOURCE,
    FIX_AVAILABLE,
    KEV,
    MIN_EPSS,
    FIRST_SEEN_AFTER,
)


def fixes(words: Iterable[str]) -> frozenset[FixAvailable]:
    return frozenset(FIX_WORDS[w] for w in words)
