"""An opener's handler that follows no redirect: whatever a request carries (a token, a signature) is for one address,
and urllib would take it along to wherever the answer leads. The redirect is the answer then, an HTTPError.
"""

from __future__ import annotations

from typing import Any
from urllib.request import HTTPRedirectHandler


class NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
