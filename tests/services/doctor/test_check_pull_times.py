"""Whether our own reads leave pull times, and that a role is registered only when that is asked for."""

from __future__ import annotations

from chalicelib.domain.doctor.health import Check, CheckStatus, run_check
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.services.doctor.check_registries import check_pull_times

OWN = RegistryPlace("eu-west-1")
ROLE = "arn:aws:iam::111122223333:role/on-scans"


class PullTimes:
    def __init__(self, *excluded: str) -> None:
        self.listed = set(excluded)

    def excluded(self, place: RegistryPlace) -> frozenset[str]:
        return frozenset(self.listed)

    def exclude(self, place: RegistryPlace, role_arn: str) -> None:
        self.listed.add(role_arn)


def pulls(pull_times: PullTimes, role: str = ROLE, *, register: bool = False) -> Check:
    return run_check("pull-times", lambda: check_pull_times("prod", {OWN: (role,)}, pull_times, register=register))


def test_a_role_that_leaves_pull_times_is_named_and_left_alone() -> None:
    pull_times = PullTimes()
    found = pulls(pull_times).found
    assert (found.status, found.problems, pull_times.listed) == (CheckStatus.WARN, (f"eu-west-1: {ROLE}",), set())


def test_a_role_is_registered_when_that_is_asked_for() -> None:
    pull_times = PullTimes()
    assert pulls(pull_times, register=True).found.status is CheckStatus.OK
    assert pull_times.listed == {ROLE}
    assert pulls(pull_times).found.status is CheckStatus.OK


def test_a_pattern_of_roles_is_not_registered() -> None:
    pull_times = PullTimes()
    assert pulls(pull_times, f"{ROLE}-*", register=True).found.status is CheckStatus.UNKNOWN
    assert pull_times.listed == set()
