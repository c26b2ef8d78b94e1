"""What a reconcile costs when nothing has changed: 20 repositories of 20 images, swept twice and measured once."""

from __future__ import annotations

import os
from dataclasses import dataclass

import boto3
from moto import mock_aws

from bench import payloads
from bench.count import Count
from bench.generate import FIRST_DAY, Plan
from bench.swept import Listed, SweptPlace, shared
from bench.world import CREDENTIALS, TABLE
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep

REPOSITORIES, IMAGES = 20, 400
LATER = 6 * 3_600


@dataclass(frozen=True)
class Quiet:
    """Of one sweep that found nothing: calls of ECR and Inspector, those among them for single images, write units."""

    calls: int
    single: int
    units: int
    found: int


def quiet_reconcile(*, basic: bool = False) -> Quiet:
    """Fills an empty table by a reconcile, lets six hours pass, and counts the next one."""
    os.environ.update(CREDENTIALS)
    plan = Plan(images=IMAGES, findings=2)
    count = Count(payloads.REGION, payloads.ACCOUNT)
    with mock_aws():
        create_table(boto3.client("dynamodb"), TABLE)
        place = SweptPlace(Listed(plan, shared(plan, REPOSITORIES), basic=basic), FIRST_DAY + LATER)
        _sweep(place)
        place.clock.forward(LATER)
        with count:
            found = _sweep(place)
        single = count.calls["ecr", "DescribeImageScanFindings"]
        return Quiet(count.calls_of("ecr", "inspector2"), single, count.wru, found)


def _sweep(place: SweptPlace) -> int:
    place.results.clear()
    place.deliver("sweeps", [PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now())])
    place.aws.sent = [sent for sent in place.aws.sent if '"filled"' not in sent.body]  # no step reads the summary
    place.settle()
    return sum(sum(result.found.values()) for result in place.results)
