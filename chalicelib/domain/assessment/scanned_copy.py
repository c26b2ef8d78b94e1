"""A public image whose origin is not known, judged by what was found in a private copy of its digest. Pure.

Only findings are borrowed. Rules and waivers are those of the public repository: what is excused for the copy is
excused here only by a waiver that covers this repository as well, and what Inspector suppresses there counts here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Finding, FindingsDocument, FindingStatus
from chalicelib.domain.images.verdict import CopiedVerdict, Decision, ImageState, VerdictSummary
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver

_OPEN, _SUPPRESSED = FindingStatus.OPEN, FindingStatus.SUPPRESSED


class ScannedCopy(msgspec.Struct, frozen=True):
    """A private image with its findings; of an index its images, None for one that was never heard of."""

    header: Header
    document: FindingsDocument
    images: tuple[ScannedCopy | None, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """As they count for the public image: what is suppressed is suppressed in the account of the copy alone."""
        found = self.document.findings
        return tuple(msgspec.structs.replace(f, status=_OPEN) if f.status is _SUPPRESSED else f for f in found)


def judged_by_copy(
    state: ImageState, copy: ScannedCopy, policy: Policy, waivers: Sequence[Waiver], now: datetime
) -> ImageState:
    """`state` of the public image -> what rules are asked about, together with the findings of the copy."""
    lender = copy.header
    children = tuple(_stands(state, image, policy, waivers, now) for image in copy.images)
    return msgspec.structs.replace(
        state,
        kind=lender.kind,
        architecture=lender.architecture,
        platform=lender.platform,
        scan=lender.scan,
        listed=lender.refreshed_at is not None,
        children=children,
        held=lender.hold is not None,
        unreadable=lender.unreadable,
        copied=lender.ref,
    )


def _stands(
    above: ImageState, image: ScannedCopy | None, policy: Policy, waivers: Sequence[Waiver], now: datetime
) -> VerdictSummary:
    if image is None:
        return VerdictSummary(Decision.PENDING)
    state = msgspec.structs.replace(above, ref=above.ref.home.image(image.header.ref.digest))
    outcome = decide(judged_by_copy(state, image, policy, waivers, now), image.findings, policy, waivers, now)
    known = (
        outcome.verdict.standing if outcome.verdict.decision.closes_doors else VerdictSummary(outcome.verdict.decision)
    )
    waived = tuple(sorted(outcome.verdict.waived))
    return CopiedVerdict(known.decision, known.critical, known.kev, waived, outcome.decide_at)
