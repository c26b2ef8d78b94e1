"""Links into the AWS console, of every partition. The console's URLs are no API: nothing but people follows them."""

from __future__ import annotations

from urllib.parse import quote

from chalicelib.domain.images.image import ImageRef, Source, partition

_CONSOLES = {"aws": "console.aws.amazon.com", "aws-cn": "console.amazonaws.cn"} | {
    "aws-us-gov": "console.amazonaws-us-gov.com"
}


def console_url(ref: ImageRef, source: Source | None) -> str:
    """The finding list in the AWS console: Inspector's page of the image, else ECR's; a public image's gallery page."""
    if ref.home.public:
        return f"https://gallery.ecr.aws/{quote(ref.registry.removeprefix('public/'))}/{quote(ref.repository)}"
    console, region = f"https://{_CONSOLES[partition(ref.region)]}", quote(ref.region, safe="")
    if source is Source.ENHANCED:
        image = quote(f"{ref.repository}/{ref.digest}", safe="")
        return f"{console}/inspector/v2/home?region={region}#/findings/container-image/{image}"
    place = f"{quote(ref.registry, safe='')}/{quote(ref.repository)}/_/image/{quote(ref.digest, safe=':')}"
    return f"{console}/ecr/repositories/private/{place}/scan-results?region={region}"
