"""Each call goes to the account that its image is of."""

from __future__ import annotations

import inspect
from typing import Any

from chalicelib.adapters.accounts import AccountActs, AccountRegistry, ByAccount
from chalicelib.domain.image import ImageRef, Repository
from chalicelib.services.ports import Acts, Registry

OWN, ROLE, LET_IN = "111122223333", "444455556666", "777788889999"
ARGUMENTS: dict[str, Any] = {"tag": "v1", "text": "{}"}


class Told:
    def __init__(self, name: str) -> None:
        self.name, self.calls = name, list[Any]()

    def __getattr__(self, method: str) -> Any:
        def call(*arguments: Any) -> str:
            self.calls.append((method, *arguments))
            return self.name

        return call


def held() -> tuple[ByAccount[Any], dict[str, Told]]:
    made: dict[str, Told] = {"own": Told("own")}

    def make(account: str) -> Told:
        assert account not in made, "made once"
        made[account] = Told(account)
        return made[account]

    return ByAccount(made["own"], {ROLE}, make), made


def test_every_call_goes_where_its_subject_is_and_has_the_ports_arguments() -> None:
    for kind, port in ((AccountRegistry, Registry), (AccountActs, Acts)):
        names = [name for name in vars(port) if not name.startswith("_")]
        assert names
        for name in names:
            takes = list(inspect.signature(getattr(kind, name)).parameters)
            assert takes == list(inspect.signature(getattr(port, name)).parameters)
            for account, whose in ((OWN, "own"), (ROLE, ROLE), (LET_IN, "own")):
                by_account, made = held()
                repository = Repository(account, "eu-west-1", "team/api")
                ref: ImageRef = repository.image(f"sha256:{1:064x}")
                subject = ref if takes[1] == "ref" else repository
                rest = [ARGUMENTS[argument] for argument in takes[2:]]
                getattr(kind(by_account), name)(subject, *rest)
                assert made[whose].calls == [(name, subject, *rest)]
