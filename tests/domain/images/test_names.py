"""The hosts of Amazon ECR, taken from what botocore knows of partitions: each is ours to judge, and no other is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.loaders import Loader

from chalicelib.cli.framework.options import read_image as read_argument
from chalicelib.domain.admission.admission import read_image
from chalicelib.domain.doctor.parameters import TemplateValues
from chalicelib.domain.events.pull_failure import named_image
from chalicelib.domain.images.image import ImageRef, Repository, partition
from chalicelib.domain.images.names import RegistryPlace, image_name, private_registry
from chalicelib.settings import registry_settings
from tests.fakes.images import digest

ROOT = Path(__file__).parents[3]
ACCOUNT = "111122223333"
REPOSITORY = "team/api"


def partitions() -> Iterator[tuple[str, str, str, str]]:
    """Name, Region, suffix of hosts, and the suffix of ECR's dual-stack hosts: `on.` where an API has `api.` (ECR user
    guide, "Making requests over IPv6")."""
    loader = Loader()
    regions = {p["partition"]: list(p["regions"]) for p in loader.load_data("endpoints")["partitions"]}
    for one in loader.load_data("partitions")["partitions"]:
        said = one["outputs"]
        for region in regions[one["id"]]:
            yield one["id"], region, said["dnsSuffix"], f"on.{said['dualStackDnsSuffix'].removeprefix('api.')}"


PARTITIONS = sorted(partitions())
HOSTS = [
    (region, host)
    for _, region, suffix, dual_stack in PARTITIONS
    for host in (
        f"{ACCOUNT}.dkr.ecr.{region}.{suffix}",
        f"{ACCOUNT}.dkr.ecr-fips.{region}.{suffix}",
        f"{ACCOUNT}.dkr.ecr.{region}.vpce.{suffix}",
        f"{ACCOUNT}.dkr-ecr.{region}.{dual_stack}",
        f"{ACCOUNT}.dkr-ecr-fips.{region}.{dual_stack}",
    )
]


@pytest.mark.parametrize(("region", "host"), HOSTS)
def test_a_host_of_ecr_is_recognised_wherever_a_name_is_read(region: str, host: str) -> None:
    home, text = Repository(ACCOUNT, region, REPOSITORY), f"{host}/{REPOSITORY}:1"
    assert private_registry(text) == RegistryPlace(region, ACCOUNT)
    assert (image_name(text) or pytest.fail(text)).home == home
    asked = read_image(text)
    assert asked.name is not None, "the door of a cluster judges it"
    assert (asked.foreign, asked.name.home) == (False, home)
    assert read_argument(text) == {"registry": ACCOUNT, "region": region, "repository": REPOSITORY, "tag": "1"}
    failed = named_image(f"failed to resolve reference {text}: not found")
    assert failed is not None, "the text of a failed pull names it"
    assert (failed.home, failed.tag) == (home, "1")


@pytest.mark.parametrize(("name", "region", "suffix", "dual_stack"), PARTITIONS)
def test_a_reference_is_written_and_read_as_its_partition_writes_it(
    name: str, region: str, suffix: str, dual_stack: str
) -> None:
    ref = Repository(ACCOUNT, region, REPOSITORY).image(digest(1))
    assert partition(region).name == name
    assert ref.home.uri == f"{ACCOUNT}.dkr.ecr.{region}.{suffix}/{REPOSITORY}"
    assert ref.home.arn == f"arn:{name}:ecr:{region}:{ACCOUNT}:repository/{REPOSITORY}"
    assert ImageRef.parse(str(ref)) == ref
    stack = f"arn:{name}:cloudformation:{region}:{ACCOUNT}:stack/lazaretto-dev/1"
    assert TemplateValues({"Resources": {}}, {}, {}, stack).of({"Ref": "AWS::URLSuffix"}) == suffix


@pytest.mark.parametrize("region", sorted({region for _, region, _, _ in PARTITIONS}))
def test_a_registry_of_any_partition_can_be_watched(region: str) -> None:
    assert registry_settings({"LAZARETTO_REGISTRIES": region})["registries"] == (RegistryPlace(region),)
    for template, name in ((".chalice/resources.json", "Registries"), ("chalicelib/cli/deploy/spoke.json", "Regions")):
        declared = json.loads((ROOT / template).read_text())["Parameters"][name]
        assert re.fullmatch(declared["AllowedPattern"], f"{region},{region}")


@pytest.mark.parametrize("name", ["vpce-0a1b2c3d4e5f60718-abcdefgh", "vpce-0a1b2c3d4e5f60718-abcdefgh-eu-west-1a"])
def test_the_own_name_of_a_vpc_endpoint_is_ecrs_and_names_no_account(name: str) -> None:
    """AWS takes the account from the host, and refuses the pull (kaniko#2753): a door does not let it pass unjudged."""
    text = f"{name}.dkr.ecr.eu-west-1.vpce.amazonaws.com/{REPOSITORY}:1"
    assert private_registry(text) == RegistryPlace("eu-west-1")
    asked = read_image(text)
    assert (asked.foreign, asked.name) == (False, None)


@pytest.mark.parametrize(
    "host",
    [
        f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.eu.evil.example",
        f"{ACCOUNT}.dkr.ecr.eu-west-1.notamazonaws.eu",
        f"{ACCOUNT}.dkr.ecr.eu-west-1.vpce.evil.example",
        "vpce-1.dkr.ecr.eu-west-1.vpce.evil.example",
        f"{ACCOUNT}.vpce-1.dkr.ecr.eu-west-1.vpce.amazonaws.com",
        "vpce-1.dkr.ecr.eu-west-1.amazonaws.com",
    ],
)
def test_no_other_host_is_ecrs(host: str) -> None:
    assert private_registry(f"{host}/{REPOSITORY}:1") is None
    assert read_image(f"{host}/{REPOSITORY}:1").foreign
