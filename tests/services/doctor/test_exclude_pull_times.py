"""Our own roles leave no pull time: what is missing is found, and registered where it is missing."""

from __future__ import annotations

import pytest

from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import TransientError
from chalicelib.services.doctor.check_registries import exclude_pull_times, missing_exclusions, readers_of

OWN, COPY, OTHER = RegistryPlace("eu-west-1"), RegistryPlace("eu-central-1"), RegistryPlace("eu-west-1", "999900009999")
ROLES = ("arn:aws:iam::111122223333:role/b", "arn:aws:iam::111122223333:role/a")
THEIRS = "arn:aws:iam::999900009999:role/lazaretto"


class Lists:
    """The lists of all registries; `fails` at the role that is registered."""

    def __init__(self) -> None:
        self.rows: dict[RegistryPlace, set[str]] = {}
        self.asked: list[RegistryPlace] = []
        self.fails = ""

    def excluded(self, place: RegistryPlace) -> frozenset[str]:
        self.asked.append(place)
        return frozenset(self.rows.get(place, ()))

    def exclude(self, place: RegistryPlace, role_arn: str) -> None:
        if role_arn == self.fails:
            raise TransientError("throttled")
        self.rows.setdefault(place, set()).add(role_arn)


def test_our_functions_read_our_registries_and_the_role_they_assume_reads_theirs() -> None:
    assert readers_of([OWN, COPY, OTHER], ROLES, {"999900009999": THEIRS}) == {
        OWN: tuple(sorted(ROLES)),
        COPY: tuple(sorted(ROLES)),
        OTHER: (THEIRS,),
    }


def test_nobody_is_asked_about_an_account_without_a_role() -> None:
    """The calls name no registry: the answer would be about another one."""
    lists = Lists()
    assert missing_exclusions(readers_of([OTHER], ROLES, {}), lists) == {}
    assert not lists.asked


def test_what_is_missing_is_named_by_registry_and_nothing_is_changed() -> None:
    lists = Lists()
    lists.rows = {OWN: {*ROLES, "arn:aws:iam::111122223333:role/scanner"}, COPY: {ROLES[0]}}
    assert missing_exclusions(readers_of([OWN, COPY], ROLES, {}), lists) == {COPY: (ROLES[1],)}
    assert lists.asked == [OWN, COPY]
    assert lists.rows[COPY] == {ROLES[0]}


def test_it_is_registered_once_and_whoever_is_stopped_does_the_rest_later() -> None:
    lists, readers = Lists(), readers_of([OWN], ROLES, {})
    lists.fails = ROLES[0]
    with pytest.raises(TransientError):
        exclude_pull_times(readers, lists)
    lists.fails = ""
    assert exclude_pull_times(readers, lists) == {OWN: (ROLES[0],)}
    assert exclude_pull_times(readers, lists) == {}
    assert lists.rows[OWN] == {*ROLES}
