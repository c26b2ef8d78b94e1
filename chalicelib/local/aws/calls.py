"""What to ask the API about what was played, as paths that have an answer. Nothing is asked here."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.local.aws.stack import LocalStack

ALWAYS = ("/v1/summary", "/v1/images?limit=5")
OF_THE_DEMO = (
    *ALWAYS,
    "/v1/verdict?repository=team/checkout&tag=2.3.1",
    "/v1/findings?repository=team/checkout&min_severity=HIGH",
    "/v1/vulnerabilities/CVE-2021-44228",
    "/v1/tags?region=eu-west-1&repository=team/web",
    "/v1/audit?kind=WOULD_QUARANTINE",
)


def calls_about(stack: LocalStack, refs: list[ImageRef]) -> tuple[str, ...]:
    """About the worst image that has findings among `refs`, by digest: not every one has a tag to ask by."""
    headers = [stored.header for stored in stack.headers(refs).values()]
    images = [h for h in headers if h.exists and h.kind is Kind.IMAGE]
    if not images:
        return ALWAYS
    worst = min(images, key=_badness)
    ref = worst.ref
    named = {"registry": ref.registry, "region": ref.region, "repository": ref.repository}
    image = urlencode({**named, "digest": ref.digest}, safe="/:")
    calls = [*ALWAYS, f"/v1/verdict?{image}", f"/v1/findings?{image}"]
    ranked = sorted(
        (f for f in stack.context.table.read_document(ref).findings if f.open), key=lambda f: f.severity.digit
    )
    calls += [f"/v1/vulnerabilities/{quote(f.vulnerability_id, safe='')}" for f in ranked[:1]]
    return tuple(calls)


def _badness(header: Header) -> tuple[object, ...]:
    return (not any(header.counts), -header.decision.rank, tuple(-n for n in header.counts), header.ref)
