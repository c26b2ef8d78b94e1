"""Makes the sample of the version that is checked out: `python -m tests.upgrade.make_sample`, once for a release.

Everything is played on the local stack (as for the permissions: some minutes), images of which everything is known are
added (`whole.py`), and the table is written down. Then a fresh stack takes that table up and is asked; its answers are
kept beside it, and what it reads. A sample that is there is never written again: its version has been released, and
its tables are out there.
"""

from __future__ import annotations

import sys
import urllib.parse
from collections.abc import Iterator
from datetime import timedelta

from chalicelib import __version__
from chalicelib.adapters.dynamodb.schema import AUDIT_HEAD, PK, SK, Item
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo.demo_registry import CURL
from tests.local.every_act import Acts, play_everything
from tests.local.every_function import HURRY_SECONDS, Played
from tests.upgrade.sample import Sample, ask, dump, images_of, read_stored, stack_with, versions, write_sample
from tests.upgrade.whole import HOME, put_whole

LISTS = (
    "/v1/images?limit=1000",
    "/v1/repositories?limit=1000",
    "/v1/findings?limit=25",
    f"/v1/vulnerabilities/{CURL.id}?limit=100",
    "/v1/summary",
    "/v1/policy",
    "/v1/waivers?limit=100",
    "/v1/audit?limit=500",
    "/v1/replication?limit=1000",
    "/v1/fuse",
    "/v1/tags?repository=team/checkout&limit=100",
)
OF_AN_IMAGE = ("verdict", "findings")


def main() -> int:
    if __version__ in versions():
        print(f"there is a sample of {__version__}: the past is not made again", file=sys.stderr)
        return 1
    with LocalStack(hurry=HURRY_SECONDS) as stack:
        played = Played(stack)
        play_everything(played)
        Acts(played).waive(days=60)
        put_whole(stack)
        played.ask("POST", "/v1/waivers", on_its_way(stack))
        items, at = dump(stack), stack.clock.now()
    with stack_with(items, at) as again:
        answers, stored = {url: ask(again, url) for url in questions(items)}, read_stored(again, items)
    write_sample(Sample(__version__, at, items, answers, stored))
    print(f"{len(items)} items, {len(answers)} answers")
    return 0


def on_its_way(stack: LocalStack) -> dict[str, str]:
    """A waiver that is just being given: nobody has carried it to the images yet."""
    return {
        "repository": HOME.name,
        "vulnerability_id": "CVE-2031-55555",
        "reason": "given as the version was changed",
        "approved_by": "security@example.com",
        "expires_at": (stack.clock.now() + timedelta(days=60)).isoformat(),
    }


def questions(items: tuple[Item, ...]) -> Iterator[str]:
    """Those that are answered from the table alone."""
    yield from LISTS
    chained = {item[PK]["S"] for item in items if item[SK]["S"] == AUDIT_HEAD}
    for ref in images_of(items):
        named = {"registry": ref.registry, "region": ref.region, "repository": ref.repository, "digest": ref.digest}
        query = urllib.parse.urlencode(named)
        yield from (f"/v1/{what}?{query}" for what in OF_AN_IMAGE)
        if f"IMAGE#{ref.path}" in chained:
            yield f"/v1/audit/verify?{query}"


if __name__ == "__main__":
    sys.exit(main())
