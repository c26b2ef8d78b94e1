"""Give, change and end waivers: checked, stored, recorded once in the audit log, and sent to the images they touch.

What a worker that dies leaves undone of it the clock finishes (`watch_waivers.py`): the change stays stored until it
has reached every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property

import msgspec

from chalicelib.domain.assessment.conclusion import Grounds
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import WaiversChanged
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.finding import Finding, FindingStatus
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.document import hint
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver, WaiverBook, check_given, check_text, check_waiver, ids_of
from chalicelib.domain.waivers.change import (
    ENDED,
    GIVEN,
    Touched,
    WaiverChange,
    concerns,
    named,
    said,
    unwaive_command,
    waive_command,
)
from chalicelib.errors import ConflictError, NotFoundError, ParameterError
from chalicelib.services.assessment.hear_twins import find_copy
from chalicelib.services.assessment.write_header import indexes_of
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import ImageRow


def record_waiver(change: WaiverChange, context: Context) -> bool:
    """False: it was recorded before."""
    waiver = change.subject
    kind = ActionKind.UNWAIVE if change.what == ENDED else ActionKind.WAIVE
    undo = unwaive_command(waiver.id, "undone") if change.former is None else waive_command(change.former)
    return context.table.record_action(
        ActionRecord(
            ref=None,
            subject=f"waiver/{waiver.id}",
            effect=f"{kind}#{change.version}",
            wanted_at=change.at,
            kind=kind,
            actor=change.by,
            reason=change.why if change.what == ENDED else "; ".join(filter(None, (change.why, waiver.reason))),
            at=change.at,
            before=None if change.what == GIVEN or change.former is None else said(change.former),
            after="ended" if change.waiver is None else said(change.waiver),
            policy_version=change.policy_version,
            vulnerability_ids=(waiver.vulnerability_id,) if waiver.vulnerability_id else (),
            undo=undo,
            waivers=(change.former, change.waiver),
        )
    )


TRIES = 3
"""Who changes just this waiver between our reading and our putting is rare: changes of others are waited for below."""


class Give(msgspec.Struct, frozen=True):
    """`waiver.id` is `waiver_id` of what it names: a waiver for the same that is stored is changed. `why`: what is to
    be recorded beside its own reason. `instead_of`: only where this one is stored (None: none); then it is brought back
    as it is, and what it touches is not looked up. `allow_unmatched` False: only where it touches something.
    `expect_images`: how many a person has seen counted that it releases; no more count than it can give back."""

    waiver: Waiver
    why: str = ""
    instead_of: Waiver | msgspec.UnsetType | None = msgspec.UNSET
    allow_unmatched: bool = True
    expect_images: int = 0


class End(msgspec.Struct, frozen=True):
    waiver_id: str
    reason: str
    instead_of: Waiver | msgspec.UnsetType | None = msgspec.UNSET


class Managed(msgspec.Struct, frozen=True):
    """The waiver as it stands, or as it stood at its end. `new`: none was stored; `changed` False: it said the same.
    `touched` None: it was not looked up."""

    waiver: Waiver
    new: bool
    changed: bool
    touched: Touched | None = None


def manage_waivers(wish: Give | End, actor: str, context: Context, *, dry_run: bool = False) -> Managed:
    """Done once, however often it is asked for. `actor` is the person's name. A dry run checks, and puts nothing.

    Raises ParameterError for what must not be accepted, NotFoundError for a waiver that is not stored, ConflictError
    when others change this waiver again and again, TransientError when they change too many at once.
    """
    for _ in range(TRIES):
        try:
            if isinstance(wish, Give):
                return _give(wish, actor, context, dry_run)
            return _end(wish, actor, context, dry_run)
        except ConflictError:
            continue
    raise ConflictError("others change this waiver at the same moment; try again")


def _give(wish: Give, actor: str, context: Context, dry_run: bool) -> Managed:
    policy, policy_version = context.rules.policy_in_force()
    check_waiver(wish.waiver, policy.waivers.max_days, context.clock.now())
    names = [rule.id for rule in policy.rules]
    if wish.waiver.rule is not None and wish.waiver.rule not in names:
        raise ParameterError("rule", f"the policy in force has no such rule{hint(wish.waiver.rule, names)}")
    waiver = msgspec.structs.replace(wish.waiver, expires_at=wish.waiver.expires_at.astimezone(UTC))
    former = context.waivers.get(waiver.id)
    _meant(wish, former)
    found, touched = None, None
    if wish.instead_of is msgspec.UNSET:
        found = find_touched(waiver, former, policy, context)
        touched = found.touched
        waiver = msgspec.structs.replace(waiver, exploited=found.exploited)
        if not wish.allow_unmatched and touched == Touched(0, 0):
            raise ParameterError("allow_unmatched", f"{named(waiver)} matches nothing that is stored now; {UNMATCHED}")
    if former is not None and waiver.says_as(former):
        if not dry_run:
            context.outbox.send("sweeps", WaiversChanged())
        return Managed(former, new=False, changed=False, touched=touched)
    if not dry_run:
        counted = wish.expect_images
        if counted:
            found = found or find_touched(waiver, former, policy, context)
            counted = min(counted, len(_with_indexes(found.held, context)))
        _expect(counted, waiver.id, context)
        why = (wish.why, f"releases counted: {counted}" if counted else "")
        _put(former, waiver, actor, "; ".join(filter(None, why)), policy_version, context)
    return Managed(waiver, new=former is None, changed=True, touched=touched)


def _with_indexes(held: Sequence[Header], context: Context) -> set[ImageRef]:
    """Which of them, and of the indexes that hold them, its release may give back."""
    above = {index.ref for image in held for index in indexes_of(image, context) if index.taken_away}
    return above | {image.ref for image in held}


def _expect(images: int, waiver_id: str, context: Context) -> None:
    now = context.clock.now()
    context.table.change_fuse(lambda brake: brake.expect(images, f"waiver/{waiver_id}", now), releases=True)


UNMATCHED = "check the names, or give it with --allow-unmatched"
LOOK_FOR = timedelta(seconds=10)
PAGE = 200


class TouchedImages(msgspec.Struct, frozen=True):
    """`exploited`: the vulnerabilities of what is touched that are known to be exploited; `held`: the images of it that
    cannot be pulled now."""

    touched: Touched
    exploited: tuple[str, ...]
    held: tuple[Header, ...]


def find_touched(waiver: Waiver, former: Waiver | None, policy: Policy, context: Context) -> TouchedImages:
    """What it would excuse.

    The index names the images that may have it, and their findings are read: of a rule those of all images that are not
    allowed. Raises TransientError, UpstreamError."""
    now, sketch_tells = context.clock.now(), not any(rule.sees_resolved for rule in policy.rulebook)
    by_verdict = former is None and waiver.vulnerability_id is None
    look = _Look(msgspec.structs.replace(waiver, even_if_exploited=True, repository="*"), policy, now, context)

    def concerning(row: ImageRow) -> bool:
        if by_verdict and row.decision is Decision.ALLOW:
            return False
        tells = sketch_tells and not row.ref.home.public  # the findings of a public image are its twins'
        return concerns(waiver, row.ref.repository, row.sketch, sketch_tells=tells)

    images, found, held, after = 0, list[Finding](), list[Header](), None
    while True:
        page = context.queries.rows_where(concerning, after, PAGE)
        headers = context.table.read_headers([row.ref for row in page.items]) if page.items else {}
        for stored in headers.values():
            excused = look.excused(stored.header)
            if excused is None:
                continue
            images += 1
            found += excused
            held += [stored.header] if stored.header.taken_away else []
        after = page.after
        if after is None or context.clock.now() >= now + LOOK_FOR:
            break
    exploited = {f.vulnerability_id for f in found if f.kev is True}
    if waiver.vulnerability_id is not None:
        exploited |= {name for name, (kev, _) in context.table.read_kev({waiver.vulnerability_id}).items() if kev}
    return TouchedImages(Touched(images, len(found), after is None), tuple(sorted(exploited)), tuple(held))


class _Look:
    """What a waiver excuses in one image after the other, whatever their repositories."""

    def __init__(self, waiver: Waiver, policy: Policy, now: datetime, context: Context) -> None:
        self.waiver, self.policy, self.now, self.context = waiver, policy, now, context

    @cached_property
    def others(self) -> Sequence[Waiver]:
        """Read only where they matter: beside a waiver of a related id."""
        return [w for w in self.context.waivers.read() if w.id != self.waiver.id]

    def excused(self, image: Header) -> list[Finding] | None:
        """The findings of the image that it excuses; None: neither these nor the image itself. A public image has none
        where its origin is known, else those of the copy that it is judged by."""
        context = self.context
        rules = Rules(self.policy, (self.waiver,), account=context.rules.current().account)
        copy = find_copy(image, rules, self.now, context)
        documents = [] if copy is None else [one.document for one in (copy, *filter(None, copy.images))]
        if image.revision:
            documents.append(context.table.read_document(image.ref))
        found = [f for document in documents for f in document.findings]
        if self.waiver.vulnerability_id is not None:
            return [f for f in found if self._excuses(f, image.ref.repository)] or None
        outcome = Grounds(image, found, indexes=indexes_of(image, context), copy=copy).outcome(rules, self.now)
        touched = bool(outcome.excused) or self.waiver.id in outcome.verdict.waived
        return list(outcome.excused) if touched else None

    def _excuses(self, finding: Finding, repository: str) -> bool:
        waiver = self.waiver
        if finding.status is FindingStatus.RESOLVED or waiver.vulnerability_id not in ids_of(finding):
            return False
        alone = finding.vulnerability_id == waiver.vulnerability_id
        book = WaiverBook([waiver, *(() if alone else self.others)], repository, self.now)
        return waiver in book.excusing(finding, waiver.rule or "")


def _end(wish: End, actor: str, context: Context, dry_run: bool) -> Managed:
    check_given("reason", wish.reason)
    check_text("reason", wish.reason)
    former = context.waivers.get(wish.waiver_id)
    if former is None:
        raise NotFoundError(f"the waiver {wish.waiver_id} is unknown here")
    _meant(wish, former)
    if not dry_run:
        _expect(0, former.id, context)
        _put(former, None, actor, wish.reason, context.rules.policy_in_force()[1], context)
    return Managed(former, new=False, changed=True)


def _meant(wish: Give | End, stored: Waiver | None) -> None:
    if wish.instead_of is not msgspec.UNSET and wish.instead_of != stored:
        raise ConflictError("another waiver than the one that was looked at is stored by now")


def _put(
    former: Waiver | None, waiver: Waiver | None, actor: str, why: str, policy_version: int, context: Context
) -> None:
    change = WaiverChange(
        former=former,
        waiver=waiver,
        by=f"person:{actor}",
        at=context.clock.now(),
        why=why,
        policy_version=policy_version,
    )
    record_waiver(context.waivers.put(change), context)
    context.outbox.send("sweeps", WaiversChanged())
