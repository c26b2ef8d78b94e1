"""Layers by the URLs that ECR signs: streamed from AWS's own hosts, from nowhere else. Their digest is not judged here.

Such a URL is a secret while it lives: it stands in no error and no log. No redirect is followed.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from urllib.parse import urlsplit

import urllib3

from chalicelib.errors import TransientError, UpstreamError

CHUNK_BYTES = 1024 * 1024
CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 10
_AWS_HOST = re.compile(r"(?:[a-z0-9-]+\.)+amazonaws\.com(?:\.cn)?")
_LOCAL_HOST = "127.0.0.1"
# 403: the URL has expired; ECR signs a new one.
_TRY_AGAIN = frozenset({403, 408, 429})


class LayerDownload:
    def __init__(self) -> None:
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
        self._pool = urllib3.PoolManager(timeout=timeout, retries=False)

    def chunks(self, url: str, endpoint: str) -> Generator[bytes, None, None]:
        """At most 1 MB each. `endpoint` is ECR's own: where it is on 127.0.0.1 (local stack), so may the layer be.

        Raises TransientError (connection lost, body cut short, URL expired), UpstreamError (any other host or answer).
        """
        host = _checked(url, endpoint)
        try:
            response = self._pool.request("GET", url, preload_content=False, decode_content=False, redirect=False)
            try:
                _refuse(response.status, host)
                yield from response.stream(CHUNK_BYTES, decode_content=False)
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(f"read a layer from {host}: {type(error).__name__}") from None


def _checked(url: str, endpoint: str) -> str:
    parts, own = urlsplit(url), urlsplit(endpoint)
    if parts.hostname == _LOCAL_HOST and (parts.scheme, parts.netloc) == (own.scheme, own.netloc):
        return parts.netloc
    if parts.scheme == "https" and _AWS_HOST.fullmatch(parts.netloc):
        return parts.netloc
    raise UpstreamError(f"read a layer: ECR names the host {str(parts.hostname)[:100]!r}, which is not AWS's")


def _refuse(status: int, host: str) -> None:
    if status == 200:
        return
    text = f"read a layer from {host}: answered {status}"
    raise TransientError(text) if status in _TRY_AGAIN or status >= 500 else UpstreamError(text)
