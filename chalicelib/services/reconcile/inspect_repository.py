"""Inspect a repository: what Inspector says of it, as a planner has handed it on, or asked for it alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Repository, Source
from chalicelib.domain.reconcile.registry_listing import ChangesListed
from chalicelib.domain.reconcile.repository_facts import RepositoryFacts
from chalicelib.domain.reconcile.repository_view import Inspected, share_of, unpack
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.plan_sweep import margin
from chalicelib.services.reconcile.survey_registry import COVERAGE_PAGES, find_rules, told

CHANGES_PAGES = 400
"""10,000 findings of one repository: where more have changed, all its images are looked at."""


def inspect_repository(
    home: Repository, handed: str | None, facts: RepositoryFacts, headers: Mapping[str, Header], context: Context
) -> Inspected:
    """Raises TransientError."""
    inspected = _ask(home, context) if handed is None else unpack(handed)
    since = _since(facts, headers, context)
    if since is None or (inspected.changed is not None and inspected.changed.since <= since):
        return inspected
    changed = told(lambda: context.inspection.changes(home, since, CHANGES_PAGES))
    return msgspec.structs.replace(inspected, changed=_share(home, changed).changed)


def _ask(home: Repository, context: Context) -> Inspected:
    """Its findings are counted image by image, where they are asked for: one call either way. That Inspector covers
    nothing of that name proves nothing: on which rows the filter works is not documented."""
    covered = told(lambda: context.inspection.coverage(home, COVERAGE_PAGES))
    if covered is not None and not covered.scans:
        covered = None
    found = find_rules(home, [home.name], context)
    return msgspec.structs.replace(share_of(home, covered, None, None, found.scanner), rule=found.rules.get(home.name))


def _share(home: Repository, changed: ChangesListed | None) -> Inspected:
    return share_of(home, None, changed, None, None)


def _since(facts: RepositoryFacts, headers: Mapping[str, Header], context: Context) -> datetime | None:
    """Since when findings may have changed unheard: the last comparison; where there was none, the oldest look. None:
    nothing was ever looked at."""
    if facts.reconcile_findings_at is not None:
        return margin(facts.reconcile_findings_at, context)
    looks = [h.scan_seen_at for h in headers.values() if h.scan_seen_at and h.scan.source is Source.ENHANCED]
    return margin(min(looks), context) if looks else None
