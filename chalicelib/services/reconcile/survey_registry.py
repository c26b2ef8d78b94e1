"""Survey a registry: ask Inspector once what it has to say of all repositories. Nothing is compared or stored here.

Find out how the repositories of a registry are scanned: which scanner is in force, and which rule covers each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from chalicelib.domain.images.image import Repository, Source
from chalicelib.domain.reconcile.registry_listing import ChangesListed, CoverageListed, OpenCounts
from chalicelib.domain.reconcile.repository_view import Inspected, pack, share_of
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, ScanRule, rule_of
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports.context import Context


class FoundRules(msgspec.Struct, frozen=True):
    """`scanner` None, a repository without a rule: nobody could find out."""

    scanner: Source | None = None
    rules: Mapping[str, ScanRule] = {}


def find_rules(registry: Repository, names: Collection[str], context: Context) -> FoundRules:
    """Of the registry and Region of `registry`, by name of a repository. Where ECR does not say what is applied, the
    rules alone tell. Raises TransientError."""
    try:
        account, configuration = context.scans.configuration(registry)
    except TransientError:
        raise
    except UpstreamError:
        return FoundRules()
    if account != registry.registry:
        return FoundRules()
    applied = _applied(registry, names, context)
    return FoundRules(configuration.scanner, {n: rule_of(n, configuration, applied.get(n)) for n in names})


def _applied(registry: Repository, names: Collection[str], context: Context) -> Mapping[str, AppliedScanRule]:
    try:
        return context.scans.applied(registry, names)
    except TransientError:
        raise
    except UpstreamError:
        return {}


COVERAGE_PAGES, CHANGES_PAGES, COUNTS_PAGES = 100, 200, 100
"""20,000 images, 5,000 findings that changed, 10,000 repositories: of more, each repository asks for itself."""
_T = TypeVar("_T")


class Survey(msgspec.Struct, frozen=True):
    """Each None: it could not be found out, for this registry or for any of its repositories."""

    covered: CoverageListed | None
    changed: ChangesListed | None
    counts: Mapping[Repository, OpenCounts] | None
    scanner: Source | None
    rules: Mapping[str, ScanRule] = {}

    def handed(self, home: Repository) -> str | None:
        """What a message hands on about one repository. None: too much, in all or of this one; it must ask itself."""
        if not all(listed is None or listed.whole for listed in (self.covered, self.changed)):
            return None
        return pack(self.share(home))

    def share(self, home: Repository) -> Inspected:
        share = share_of(home, self.covered, self.changed, self.counts, self.scanner)
        return msgspec.structs.replace(share, rule=self.rules.get(home.name))


def survey_registry(home: Repository, names: Collection[str], since: datetime | None, context: Context) -> Survey:
    """Of the registry and Region of `home`. `since`: how far findings are known; None: there is nothing to go on from.
    Raises TransientError."""
    registry = Repository(home.registry, home.region, "")
    found = find_rules(registry, names, context)
    changed = None
    if since is not None:
        changed = told(lambda: context.inspection.changes(registry, since, CHANGES_PAGES))
    return Survey(
        told(lambda: context.inspection.coverage(registry, COVERAGE_PAGES)),
        changed,
        told(lambda: context.inspection.repository_counts(registry, COUNTS_PAGES)),
        found.scanner,
        found.rules,
    )


def told(ask: Callable[[], _T]) -> _T | None:
    """The answer; None where there is none to be had (not permitted, not enabled): then nothing follows from it. One
    that only needs time is asked for again: raises TransientError."""
    try:
        return ask()
    except TransientError:
        raise
    except UpstreamError:
        return None
