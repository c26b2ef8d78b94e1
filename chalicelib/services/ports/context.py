"""Everything a use case may ask for, in one Protocol. `chalicelib.context.AppContext` has it all; a test's context has
what its use case asks for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.services.ports.index import Index
from chalicelib.services.ports.messages import Journal, Outbox
from chalicelib.services.ports.registry import Acts, Inventory, Keeper, Lifecycles, PublicInventory, Registry
from chalicelib.services.ports.replication import GatheredPosture, Replicas, ReplicationReader
from chalicelib.services.ports.rules import RuleBook, Waivers, WhatIfs
from chalicelib.services.ports.scanning import Inspection, ScanAsks, Scanner, Scans
from chalicelib.services.ports.table import Table
from chalicelib.services.ports.usage import Runtime


class Clock(Protocol):
    def now(self) -> datetime: ...


class Context(Protocol):
    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def consistency_delay(self) -> timedelta:
        """How long a source may need to list what it has announced."""

    @property
    def own_roles(self) -> Sequence[str]:
        """ARNs of the roles we run under (patterns allowed): a Deny of ours leaves them out."""

    @property
    def registries(self) -> Sequence[RegistryPlace]:
        """Those that sweeps list; ours are named by their Regions alone."""

    def own_account(self) -> str:
        """Our own account's id. May raise UpstreamError."""

    @property
    def outbox(self) -> Outbox: ...

    # The table
    @property
    def table(self) -> Table: ...
    @property
    def queries(self) -> Index: ...
    @property
    def rules(self) -> RuleBook: ...
    @property
    def waivers(self) -> Waivers: ...
    @property
    def what_ifs(self) -> WhatIfs: ...
    @property
    def replicas(self) -> Replicas: ...
    @property
    def scan_asks(self) -> ScanAsks: ...
    @property
    def posture(self) -> GatheredPosture: ...

    # One image of a registry
    @property
    def registry(self) -> Registry: ...
    @property
    def scanner(self) -> Scanner: ...
    @property
    def runtime(self) -> Runtime: ...
    @property
    def acts(self) -> Acts: ...

    # Listings and settings of a registry
    @property
    def inventory(self) -> Inventory: ...
    @property
    def inspection(self) -> Inspection: ...
    @property
    def public(self) -> PublicInventory: ...
    @property
    def scans(self) -> Scans: ...
    @property
    def replication(self) -> ReplicationReader: ...
    @property
    def keeper(self) -> Keeper: ...
    @property
    def lifecycles(self) -> Lifecycles: ...
