"""Amazon EC2 as far as it tells the Regions of an account, and AWS App Runner, which moto does not have.

A local account has the one Region that is asked switched on: no look-up asks all the others, which are empty.
"""

from __future__ import annotations

from typing import Any

from moto.ec2 import urls
from moto.ec2.models import EC2Backend
from moto.ec2.models.availability_zones_and_regions import Region

TARGET = "AppRunner."
Raw = dict[str, Any]


class LocalEc2(EC2Backend):
    @property
    def _url_module(self) -> Any:
        return urls

    def describe_regions(self, region_names: list[str] | None = None) -> list[Region]:
        return [Region(self.region_name, f"ec2.{self.region_name}.amazonaws.com", "opt-in-not-required")]


class AppRunner:
    """`services` by ARN, as DescribeService words them; the same in every Region."""

    def __init__(self) -> None:
        self.services: dict[str, Raw] = {}

    def answer(self, operation: str, request: Raw) -> tuple[int, Raw]:
        """Status and body for one call of the JSON protocol."""
        if operation == "ListServices":
            keys = ("ServiceName", "ServiceArn")
            return 200, {"ServiceSummaryList": [{key: one[key] for key in keys} for one in self.services.values()]}
        service = self.services.get(request.get("ServiceArn", "")) if operation == "DescribeService" else None
        if service is None:
            return 400, {"__type": "ResourceNotFoundException", "message": "no such service"}
        return 200, {"Service": service}
