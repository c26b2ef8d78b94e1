"""AWS Lambda: functions made from images, in all their versions."""

from __future__ import annotations

from datetime import timedelta

import boto3
import pytest

from chalicelib.adapters.usage.asking import Asker
from chalicelib.adapters.usage.lambda_use import LambdaUse
from chalicelib.adapters.usage.places import PlaceAnswer
from chalicelib.domain.images.image import InUseState
from tests.adapters.looking import IMAGE, NOW, OTHER, use_of
from tests.fakes.estate import ACCOUNT, HOME, Estate
from tests.fakes.moto_aws import mock_aws


@pytest.fixture
def estate() -> Estate:
    return Estate()


def test_every_version_of_a_function_is_told_over_all_pages(estate: Estate):
    for version in ("$LATEST", "1", "2"):
        estate.home.function("thumbs", estate.home.image(f"@{IMAGE}"), version)
    use = use_of(estate)
    assert (use.state, use.count) == (InUseState.YES, None)
    assert use.by == ("Lambda function thumbs (unpublished, version 1, version 2)",)


def test_an_old_version_runs_the_image_though_the_newest_does_not(estate: Estate):
    estate.home.function("thumbs", estate.home.image(f"@{OTHER}"))
    estate.home.function("thumbs", estate.home.image(f"@{IMAGE}"), "1")
    assert use_of(estate).by == ("Lambda function thumbs (version 1)",)


def test_a_function_keeps_its_digest_and_no_tag_matters(estate: Estate):
    estate.home.function("thumbs", estate.home.image(f":v1@{OTHER}"))
    assert use_of(estate, IMAGE, "v1").state is InUseState.NO


def test_a_function_made_from_a_zip_is_not_asked_about(estate: Estate):
    estate.home.function("zip", None, package="Zip")
    assert (use_of(estate).state, estate.asked("GetFunction")) == (InUseState.NO, 0)


def test_the_versions_of_a_function_made_from_a_zip_are_not_read(estate: Estate):
    for version in ("$LATEST", *map(str, range(100))):
        estate.home.function("zip", None, version, package="Zip")
    use_of(estate)
    assert (estate.asked("ListFunctions"), estate.asked("ListVersionsByFunction")) == (1, 0)


def test_a_function_that_says_neither_is_asked(estate: Estate):
    estate.home.function("new", estate.home.image(f"@{IMAGE}"))
    del estate.home.functions[0]["PackageType"]
    assert use_of(estate).state is InUseState.YES


@pytest.mark.parametrize("uri", [None, "", ":v1"])
def test_a_function_that_does_not_say_from_which_image_it_was_made_is_not_known(estate: Estate, uri: str | None):
    estate.home.function("thumbs", None if uri is None else estate.home.image(uri) if uri else "")
    use = use_of(estate, IMAGE, "v1")
    assert (use.state, len(use.blind)) == (InUseState.UNKNOWN, 1)
    assert use.blind[0].startswith("Lambda function thumbs cannot be looked at")


def test_a_function_that_ceased_to_be_runs_nothing(estate: Estate):
    estate.home.function("gone", "x")
    estate.home.codes.clear()
    assert use_of(estate).state is InUseState.NO


def test_a_function_whose_code_changed_is_asked_again(estate: Estate):
    estate.home.function("thumbs", estate.home.image(f"@{IMAGE}"))
    use, client = LambdaUse(), estate.client("lambda", ACCOUNT, HOME)
    asker = Asker(lambda: NOW, NOW.replace(year=2027))
    for asked, code in ((1, "a"), (1, "a"), (2, "b")):
        estate.home.functions[0]["CodeSha256"] = code
        assert len(use.look(client, asker).uses) == 1
        assert estate.asked("GetFunction") == asked


class Looking:
    """Looks of one worker; time passes between them."""

    def __init__(self, estate: Estate) -> None:
        self.estate, self.at, self.use = estate, NOW, LambdaUse()

    def look(self, **later: float) -> PlaceAnswer:
        self.at += timedelta(**later)
        asker = Asker(lambda: self.at, self.at + timedelta(seconds=12), pause=lambda _: None)
        return self.use.look(self.estate.client("lambda", ACCOUNT, HOME), asker)

    def notes(self, **later: float) -> list[str]:
        return [use.note for use in self.look(**later).uses]


@pytest.fixture
def published(estate: Estate) -> Looking:
    estate.home.function("thumbs", estate.home.image(f"@{OTHER}"))
    estate.home.function("thumbs", estate.home.image(f"@{IMAGE}"), "1")
    looking = Looking(estate)
    assert looking.notes() == ["unpublished", "version 1"]
    return looking


def test_versions_are_not_listed_again_while_the_code_is_the_same(estate: Estate, published: Looking):
    assert published.notes(minutes=59) == ["unpublished", "version 1"]
    assert (estate.asked("ListVersionsByFunction"), estate.asked("GetFunction")) == (2, 2)  # two pages, once


def test_a_version_published_with_new_code_is_seen_at_once(estate: Estate, published: Looking):
    estate.home.functions[0]["CodeSha256"] = "new"
    estate.home.function("thumbs", estate.home.image(f"@{IMAGE}"), "2")
    assert published.notes(seconds=1) == ["unpublished", "version 1", "version 2"]


def test_a_version_that_was_deleted_is_seen_to_be_gone_within_an_hour(estate: Estate, published: Looking):
    del estate.home.functions[1]
    assert published.notes(minutes=59) == ["unpublished", "version 1"]
    assert published.notes(minutes=1) == ["unpublished"]


def test_versions_that_cannot_be_listed_again_now_are_those_that_are_known(estate: Estate, published: Looking):
    estate.home.refusals["ListVersionsByFunction"] = ("TooManyRequestsException", "slow down")
    looked = published.look(hours=2)
    assert ([use.note for use in looked.uses], looked.blind) == (["unpublished", "version 1"], [])
    estate.home.functions[0]["CodeSha256"] = "new"
    assert published.look().failed


def test_versions_that_may_not_be_listed_any_more_are_not_known(estate: Estate, published: Looking):
    estate.home.refusals["ListVersionsByFunction"] = ("AccessDeniedException", "no")
    assert published.look(hours=2).blind == [
        "Lambda function thumbs cannot be looked at: access denied (lambda:ListVersionsByFunction)"
    ]


def test_what_is_told_of_a_function_of_moto():
    with mock_aws():
        named = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        iam = boto3.client("iam", HOME, **named)
        role = iam.create_role(RoleName="fn", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        client = boto3.client("lambda", HOME, **named)
        uri = f"123456789012.dkr.ecr.{HOME}.amazonaws.com/team/api:v1"  # moto stumbles over a digest
        client.create_function(FunctionName="thumbs", Role=role, PackageType="Image", Code={"ImageUri": uri})
        client.publish_version(FunctionName="thumbs")
        looked = LambdaUse().look(client, Asker(lambda: NOW, NOW.replace(year=2027)))
    assert looked.blind == []
    assert [(use.image.home.name, use.note) for use in looked.uses] == [
        ("team/api", "unpublished"),
        ("team/api", "version 1"),
    ]
    assert all(use.image.digest and use.image.tag is None for use in looked.uses)
