"""In which Regions an account uses Amazon ECS: found once a day, because tasks may pull from any Region.

Calls: DescribeRegions; per Region that is switched on ListClusters, one page of one. Without a cluster nothing starts a
task. A Region that is not switched on, has no ECS, or is explicitly denied (by a service control policy, say) is left
out, and named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import boto3
import msgspec
from botocore.exceptions import EndpointConnectionError
from cachetools import LRUCache

from chalicelib.adapters.usage.asking import Asker, PlaceAnswer
from chalicelib.errors import DeniedError, LazarettoError
from chalicelib.parsers.usage import use_answers as wire

FOUND_FOR = timedelta(days=1)
MOST_REMEMBERED = 5_000
OFF, DENIED, NO_ECS = "not switched on", "explicitly denied", "without ECS"
_NOT_OPTED_IN = "not-opted-in"
_EXPLICIT = "explicit deny"


class Found(msgspec.Struct, frozen=True):
    """`why_not`: why a Region is left out; empty: it is not. `used`: there are clusters."""

    used: bool = False
    why_not: str = ""


class EcsRegions(PlaceAnswer):
    """`used`: beside those that could not be asked, which are `blind`. `left_out`: why, by Region."""

    used: list[str] = []
    left_out: dict[str, str] = {}


class RegionUse:
    """`client_of` gives the client of a service in an account and a Region. Safe to share between threads."""

    def __init__(self, client_of: Callable[[str, str, str], Any]) -> None:
        self._client_of, self._lock = client_of, Lock()
        self._found = LRUCache[tuple[str, str], tuple[datetime, Found]](MOST_REMEMBERED)
        self._listed = LRUCache[str, tuple[datetime, dict[str, bool]]](MOST_REMEMBERED)

    def look(self, account: str, known: Sequence[str], asker: Asker) -> EcsRegions:
        """Beside the Regions that are `known`, at least one; it is asked which others there are."""
        looked, regions = EcsRegions(), dict[str, bool]()
        with looked.at("the Regions of the account"):
            regions = {name: on for name, on in self._listed_in(account, known[0], asker).items() if name not in known}
        asked = asker.each(lambda region: self._region(account, region, asker), [r for r, on in regions.items() if on])
        looked.join(asked)
        for one in asked:
            looked.used += one.used
            looked.left_out |= one.left_out
        looked.left_out |= {region: OFF for region, on in regions.items() if not on}
        return looked

    def _listed_in(self, account: str, home: str, asker: Asker) -> dict[str, bool]:
        with self._lock:
            listed = self._listed.get(account)
        if listed is None or asker.now() - listed[0] >= FOUND_FOR:
            client = self._client_of("ec2", account, home)
            answer = asker.ask(client, "describe_regions", wire.RegionsAnswer, AllRegions=True)
            listed = asker.now(), {one.region_name: one.opt_in_status != _NOT_OPTED_IN for one in answer.regions}
            with self._lock:
                self._listed[account] = listed
        return listed[1]

    def _region(self, account: str, region: str, asker: Asker) -> EcsRegions:
        part, key = EcsRegions(), (account, region)
        with self._lock:
            found = self._found.get(key)
        with part.at(f"ECS in {region}"):
            if found is None or asker.now() - found[0] >= FOUND_FOR:
                found = asker.now(), self._ask(account, region, asker)
                with self._lock:
                    self._found[key] = found
            part.used = [region] if found[1].used else []
            part.left_out = {region: found[1].why_not} if found[1].why_not else {}
        return part

    def _ask(self, account: str, region: str, asker: Asker) -> Found:
        client = self._client_of("ecs", account, region)
        try:
            first = next(asker.pages(client, "list_clusters", "clusterArns", str, maxResults=1))
        except DeniedError as error:
            if _EXPLICIT in str(error):
                return Found(why_not=DENIED)
            raise
        except LazarettoError as error:
            if isinstance(error.__cause__, EndpointConnectionError) and not _has_ecs(client, region):
                return Found(why_not=NO_ECS)
            raise
        return Found(used=bool(first))


def _has_ecs(client: Any, region: str) -> bool:
    """As far as this boto3 knows."""
    return region in boto3.session.Session().get_available_regions("ecs", client.meta.partition)


def left_out_words(left_out: Mapping[str, str]) -> list[str]:
    """One sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for region, reason in sorted(left_out.items()):
        reasons.setdefault(reason, []).append(region)
    return [f"ECS in {', '.join(regions)} ({reason})" for reason, regions in sorted(reasons.items())]
