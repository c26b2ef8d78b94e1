"""Whether our own reads leave pull times, and that a role is registered only when that is asked for."""

from __future__ import annotations

from types import SimpleNamespace

from chalicelib.cli.doctor.checks import KINDS
from chalicelib.domain.doctor.health import CheckResult, CheckStatus
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import TransientError

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


def pulls(
    lists: Lists,
    *places: RegistryPlace,
    roles: tuple[str, ...] = ROLES,
    account_roles: dict[str, str] | None = None,
    register: bool = False,
) -> CheckResult:
    (kind,) = (kind for kind in KINDS if kind.id == "pull-times")
    settings = SimpleNamespace(role_arns=roles, account_roles=account_roles or {})
    app, options = (
        SimpleNamespace(settings=settings, pull_times=lists, registries=places),
        SimpleNamespace(register=register),
    )
    return kind.run(SimpleNamespace(stage="prod", app=app, options=options)).found


def test_a_role_that_leaves_pull_times_is_named_by_registry_and_nothing_is_changed() -> None:
    lists = Lists()
    lists.rows = {OWN: {*ROLES, "arn:aws:iam::111122223333:role/scanner"}, COPY: {ROLES[0]}}
    found = pulls(lists, OWN, COPY)
    assert (found.status, found.problems) == (CheckStatus.WARN, (f"eu-central-1: {ROLES[1]}",))
    assert lists.asked == [OWN, COPY]
    assert lists.rows[COPY] == {ROLES[0]}


def test_in_another_account_it_is_the_role_that_the_functions_assume_there() -> None:
    found = pulls(Lists(), OWN, OTHER, account_roles={"999900009999": THEIRS})
    assert found.problems == (*(f"eu-west-1: {role}" for role in sorted(ROLES)), f"999900009999/eu-west-1: {THEIRS}")


def test_an_account_without_a_role_is_not_asked() -> None:
    """The calls name no registry: the answer would be about another one."""
    lists = Lists()
    assert pulls(lists, OTHER).status is CheckStatus.UNKNOWN
    assert not lists.asked


def test_a_role_is_registered_when_that_is_asked_for() -> None:
    lists = Lists()
    assert pulls(lists, OWN, register=True).status is CheckStatus.OK
    assert lists.rows == {OWN: {*ROLES}}
    assert pulls(lists, OWN).status is CheckStatus.OK


def test_after_a_failure_a_second_run_registers_the_rest() -> None:
    lists = Lists()
    lists.fails = ROLES[0]
    assert pulls(lists, OWN, register=True).status is CheckStatus.UNKNOWN
    lists.fails = ""
    assert pulls(lists, OWN, register=True).seen.startswith("1 were registered")
    assert lists.rows[OWN] == {*ROLES}


def test_a_pattern_of_roles_is_not_registered() -> None:
    lists = Lists()
    assert pulls(lists, OWN, roles=(f"{ROLES[0]}-*",), register=True).status is CheckStatus.UNKNOWN
    assert lists.rows == {}
