"""How people write images, with and without the registry's host."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.cli.framework.options import read_image, read_repository
from chalicelib.errors import InputError

EU = {"registry": "111122223333", "region": "eu-west-1", "repository": "team/api"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team/api:v1", {"repository": "team/api", "tag": "v1"}),
        ("api@sha256:ab", {"repository": "api", "digest": "sha256:ab"}),
        ("api:v1@sha256:ab", {"repository": "api", "digest": "sha256:ab"}),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api:v1", {**EU, "tag": "v1"}),
        ("https://111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/api:v1", {**EU, "tag": "v1"}),
        ("111122223333.dkr.ecr-fips.eu-west-1.amazonaws.com/team/api:v1", {**EU, "tag": "v1"}),
        ("111122223333.dkr-ecr.eu-west-1.on.aws/team/api:v1", {**EU, "tag": "v1"}),
        (
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/team/api:v1",
            {**EU, "region": "cn-north-1", "tag": "v1"},
        ),
        (
            "public.ecr.aws/acme/team/api:v1",
            {"registry": "public/acme", "region": "us-east-1", "repository": "team/api", "tag": "v1"},
        ),
    ],
)
def test_an_image_is_read(text: str, expected: dict[str, str]) -> None:
    assert read_image(text) == expected


@pytest.mark.parametrize(
    "text",
    ["api", "", "quay.io/a:1", "localhost:5000/a:1", "public.ecr.aws/a:1", "x.dkr.ecr.eu-west-1.amazonaws.com/a:1"],
)
def test_what_names_no_image_of_ecr_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_image(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_image, read_repository):
        try:
            assert read(text)["repository"] is not None
        except InputError:
            continue
