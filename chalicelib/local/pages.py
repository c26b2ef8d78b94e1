"""Pages and bodies of the answers that the local AWS gives in place of moto."""

from __future__ import annotations

import base64
import json
from typing import Any

from moto.core.responses import ActionResult


class PlainAnswer(ActionResult):
    """Already in the words of the API: moto has nothing to translate."""

    def execute_result(self, context: Any) -> tuple[int, dict[str, str], str]:
        return 200, {}, json.dumps(self.result)


def page_of(rows: list[Any], token: str | None, size: int) -> tuple[list[Any], dict[str, str]]:
    """The page that begins at `token`, and the `nextToken` where more follow. Raises ValueError for a bad token."""
    start = int(base64.b64decode(token or "") or 0)
    end = start + size
    more = {"nextToken": base64.b64encode(str(end).encode()).decode()} if end < len(rows) else {}
    return rows[start:end], more
