"""What Inspector and ECR's scanning rules say of a registry, asked once, or of one repository."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Repository, Source
from chalicelib.domain.reconcile.difference import RepositoryFacts
from chalicelib.domain.reconcile.registry_listing import ChangesListed, CoverageListed, OpenCounts
from chalicelib.domain.reconcile.repository_view import Inspected, pack, share_of, unpack
from chalicelib.domain.reconcile.scan_comparison import ASKED_AGAIN
from chalicelib.domain.reconcile.scan_rule import ScanRule, rule_of
from chalicelib.services.ports.answers import answered
from chalicelib.services.ports.context import Context

COVERAGE_PAGES, CHANGES_PAGES, COUNTS_PAGES = 100, 200, 100
"""20,000 images, 5,000 changed findings, 10,000 repositories: above that each repository asks for itself."""
CHANGES_PAGES_OF_ONE = 400
"""10,000 findings of one repository: where more have changed, all its images are refreshed."""


class FoundRules(msgspec.Struct, frozen=True):
    """`scanner` None, a repository without a rule: unknown."""

    scanner: Source | None = None
    rules: Mapping[str, ScanRule] = {}


def find_rules(registry: Repository, names: Collection[str], context: Context) -> FoundRules:
    """How the repositories `names` of a registry are scanned. Where ECR does not say what it applies, the registry's
    rules decide. Raises TransientError."""
    found = answered(lambda: context.scans.configuration(registry))
    if found is None or found[0] != registry.registry:
        return FoundRules()
    applied = answered(lambda: context.scans.applied(registry, names)) or {}
    return FoundRules(found[1].scanner, {name: rule_of(name, found[1], applied.get(name)) for name in names})


class Survey(msgspec.Struct, frozen=True):
    """None: unknown for this registry."""

    covered: CoverageListed | None
    changed: ChangesListed | None
    counts: Mapping[Repository, OpenCounts] | None
    scanner: Source | None
    rules: Mapping[str, ScanRule] = {}

    def handed(self, home: Repository) -> str | None:
        """What a message carries about one repository. None: it does not fit, and the repository must ask itself."""
        if not all(listed is None or listed.whole for listed in (self.covered, self.changed)):
            return None
        return pack(self.share(home))

    def share(self, home: Repository) -> Inspected:
        share = share_of(home, self.covered, self.changed, self.counts, self.scanner)
        return msgspec.structs.replace(share, rule=self.rules.get(home.name))


def survey_registry(home: Repository, names: Collection[str], since: datetime | None, context: Context) -> Survey:
    """Of the registry of `home`. `since`: up to when findings are known; None: never. Raises TransientError."""
    registry, ask = Repository(home.registry, home.region, ""), context.inspection
    found = find_rules(registry, names, context)
    return Survey(
        covered=answered(lambda: ask.coverage(registry, COVERAGE_PAGES)),
        changed=None if since is None else answered(lambda: ask.changes(registry, since, CHANGES_PAGES)),
        counts=answered(lambda: ask.repository_counts(registry, COUNTS_PAGES)),
        scanner=found.scanner,
        rules=found.rules,
    )


def inspect_repository(
    home: Repository, handed: str | None, facts: RepositoryFacts, headers: Mapping[str, Header], context: Context
) -> Inspected:
    """What a planner has handed on, or what is asked for this repository alone. Raises TransientError."""
    inspected = _ask(home, context) if handed is None else unpack(handed)
    since = _since(facts, headers, context)
    if since is None or (inspected.changed is not None and inspected.changed.since <= since):
        return inspected
    changed = answered(lambda: context.inspection.changes(home, since, CHANGES_PAGES_OF_ONE))
    share = share_of(home, None, changed, None, None)
    return msgspec.structs.replace(inspected, changed=share.changed)


def _ask(home: Repository, context: Context) -> Inspected:
    """An empty coverage proves nothing: AWS does not document on which rows the filter by name works. Findings are
    counted image by image, where they are needed."""
    covered = answered(lambda: context.inspection.coverage(home, COVERAGE_PAGES))
    if covered is not None and not covered.scans:
        covered = None
    found = find_rules(home, [home.name], context)
    return msgspec.structs.replace(share_of(home, covered, None, None, found.scanner), rule=found.rules.get(home.name))


def _since(facts: RepositoryFacts, headers: Mapping[str, Header], context: Context) -> datetime | None:
    """When findings were last known: at the last comparison, else at the oldest refresh. None: never."""
    if facts.reconcile_findings_at is not None:
        return margin(facts.reconcile_findings_at, context)
    looks = [h.scan_seen_at for h in headers.values() if h.scan_seen_at and h.scan.source is Source.ENHANCED]
    return margin(min(looks), context) if looks else None


def margin(at: datetime, context: Context) -> datetime:
    """Inspector may list a finding that much later than it was updated."""
    return at - ASKED_AGAIN * context.consistency_delay
