import pytest

from chalicelib.domain.images.text import nearest

NAMES = ["severity", "packageManager", "HIGH", "CRITICAL"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sevrity", "severity"), ("HGIH", "HIGH"), ("hgih", "HIGH"), ("packagemanger", "packageManager")],
)
def test_a_name_that_was_mistyped_is_found_whatever_its_case(name: str, meant: str) -> None:
    assert nearest(name, NAMES) == meant


@pytest.mark.parametrize("name", ["", "banana", "x" * 10_000])
def test_what_is_like_none_of_them_is_none(name: str) -> None:
    assert nearest(name, NAMES) is None


def test_where_there_are_no_names_none_is_near() -> None:
    assert nearest("severity", []) is None
