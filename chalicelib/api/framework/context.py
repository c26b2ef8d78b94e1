"""Where routes get the AppContext of this process. Nothing is built here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chalicelib.context import AppContext


def context() -> AppContext:
    """Asked inside a request, not at import: `openapi.json` and the tests need no AWS."""
    from chalicelib.context import app_context

    return app_context()
