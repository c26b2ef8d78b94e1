"""AWS Batch: every form in which a job definition names images; and answers that name none."""

from __future__ import annotations

import pytest

from chalicelib.domain.images.image import InUseState
from tests.adapters.looking import IMAGE, use_of
from tests.fakes.estate import Estate

WHO = "Batch job definition train:1 (may be submitted)"


@pytest.fixture
def estate() -> Estate:
    return Estate()


@pytest.mark.parametrize(
    "form",
    [
        lambda one: {"containerProperties": one},
        lambda one: {"ecsProperties": {"taskProperties": [{"containers": [{"image": "busybox"}, one]}]}},
        lambda one: {"eksProperties": {"podProperties": {"containers": [{"image": "busybox"}, one]}}},
        lambda one: {"eksProperties": {"podProperties": {"containers": [{"image": "x"}], "initContainers": [one]}}},
        lambda one: {"nodeProperties": {"nodeRangeProperties": [{"targetNodes": "0:", "container": one}]}},
        lambda one: {
            "nodeProperties": {
                "nodeRangeProperties": [
                    {"ecsProperties": {"taskProperties": [{"containers": [one]}]}},
                    {"container": one},
                ]
            }
        },
    ],
)
def test_a_job_definition_names_its_images_in_any_form(estate: Estate, form):
    estate.home.job("train", **form({"image": estate.home.image(f"@{IMAGE}")}))
    assert use_of(estate).by == (WHO,)


def test_a_job_definition_that_names_a_tag_may_start_what_it_points_at(estate: Estate):
    estate.home.job("train", containerProperties={"image": estate.home.image(":v1")})
    assert use_of(estate, IMAGE, "v1").by == (WHO,)
    assert use_of(estate).state is InUseState.NO


@pytest.mark.parametrize("properties", [{}, {"containerProperties": {}}])
def test_a_job_definition_that_names_no_image_is_not_known(estate: Estate, properties: dict[str, object]):
    estate.home.job("train", **properties)
    use = use_of(estate)
    assert use.blind == ("AWS Batch cannot be looked at: AWS did not answer as needed (batch:DescribeJobDefinitions)",)
