"""What is to be done to an image in the registry: a level, never an edge. Pure; how, is the services' business.

What is wanted follows from verdict, policy, exemptions and a person's order at every write of the header; what is done
is the header's `hold`, `denied` and `storage`. The next act is the difference, so that a re-push, a new policy, an
ended exemption or a repeated message each lead to what is right without a memory of what had happened before.
Whether the image runs and whether the fuse lets one more act pass is asked when the act is about to be done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.enforcement.act_report import RESTORE, with_report
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import (
    SYSTEM,
    ActionType,
    Deferred,
    Hold,
    Holding,
    Order,
    PendingAct,
    Released,
    ReleasedImage,
)
from chalicelib.domain.images.finding import Finding, FindingsDocument, FindingStatus
from chalicelib.domain.images.image import Kind, ScanState, Source, StorageStatus
from chalicelib.domain.images.text import some_of
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.decision import RuleOutcome
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import BUILT_IN_RULES

ARCHIVE = "archive"
"""The method of every quarantine, as headers, acts and the API name it."""
RESTORE_ASKED_EVERY = timedelta(minutes=5)


class DesiredState(msgspec.Struct, frozen=True):
    """The level: whether the image is to be in `quarantine`, and whether its repository is to have pulls `denied`.

    `by` is who wants it (`rule:<id>`, `person:<name>`, `system`), `why` one sentence; also when nothing is wanted.
    """

    quarantine: bool = False
    denied: bool = False
    by: str = "system"
    why: str = "the verdict asks for nothing"


class NextAct(msgspec.Struct, frozen=True):
    """An act to be done; `held` where it is known already that it has to wait."""

    kind: ActionType
    method: str | None = None
    held: Deferred | None = None


def wants_quarantine(header: Header, policy: Policy) -> bool:
    """Whether verdict or order ask for it, whatever else hangs on the image."""
    return wanted(header, policy).quarantine


def wanted(header: Header, policy: Policy, needed_by: Sequence[str] = ()) -> DesiredState:
    """`needed_by`: the digests of the indexes that hold the image and may be pulled."""
    order = header.order
    if header.kind is Kind.ARTIFACT:
        return DesiredState(why="no image: it has no verdict")
    if header.ref.home.public:
        return DesiredState(why="Amazon ECR Public can neither archive an image nor be told not to give it away")
    if order is not None and order.kind is ActionType.RELEASE:
        return DesiredState(by=order.actor, why=order.reason)
    exempt = policy.exempts(header.ref.repository)
    denied = header.exists and header.verdict is not None and header.verdict.denies_pulls and not exempt
    by, why = _author(header)
    if header.commanded is not None:
        return DesiredState(True, denied, by, why)
    if exempt:
        return DesiredState(why=f"the policy exempts {header.ref.repository}")
    if not policy.enforcing and header.hold is not None and header.hold.ordered:
        return DesiredState(
            denied=denied, why="the order that had it quarantined is over, and the policy only observes"
        )
    if order is None and header.judged is not Decision.QUARANTINE:
        by, why = (by, why) if denied else _excuse(header)
        return DesiredState(denied=denied, by=by, why=why)
    if needed_by:
        why = f"an index that may be pulled needs it: {', '.join(d[:19] for d in needed_by)}"
        return DesiredState(denied=denied, by=by, why=why)
    return DesiredState(True, denied, by, why)


def is_mirrored(header: Header) -> bool:
    """Whether it is quarantined because it is the copy of an image that is: by an order of ours."""
    return header.order is not None and header.order.kind is ActionType.QUARANTINE and header.order.by == SYSTEM


def unmirrored(header: Header) -> Header:
    """As it is by itself."""
    return msgspec.structs.replace(header, order=None) if is_mirrored(header) else header


def closes_copies(header: Header | None, policy: Policy) -> bool:
    """Whether its own verdict or a person asks for its quarantine, or the brake has not let it out yet. Whether an
    index needs it is not looked at."""
    if header is None:
        return False
    own = unmirrored(header)
    return wants_quarantine(own, policy) or own.braked is not None


def next_acts(header: Header, policy: Policy, needed_by: Sequence[str], now: datetime) -> list[NextAct]:
    """In the order they are to be done, one after the other: what gives back comes before what takes away. None: the
    image is as it is wanted."""
    desired = wanted(header, policy, needed_by)
    observed = Deferred(Holding.OBSERVE, "the policy only observes", now)
    return [
        act
        if policy.enforcing or is_done_in_every_mode(header, act.kind)
        else msgspec.structs.replace(act, held=observed)
        for act in (*_gives_back(header, desired, now), *_takes_away(header, desired, now))
    ]


def is_done_in_every_mode(header: Header, kind: ActionType) -> bool:
    """Whether a person has the act done whatever the policy says. To give back takes nothing from anyone; to take away
    has to be forced."""
    if kind.takes_away:
        return is_forced(header, kind)
    return is_released(header) or (kind is ActionType.RELEASE and header.hold is not None and header.hold.ordered)


def is_forced(header: Header, kind: ActionType) -> bool:
    """Whether it is done although something runs the image."""
    return kind is ActionType.QUARANTINE and header.commanded is not None and header.commanded.force


def _gives_back(header: Header, desired: DesiredState, now: datetime) -> Iterator[NextAct]:
    if header.denied and not desired.denied:
        yield NextAct(ActionType.UNBLOCK)
    if is_archived_by_us(header) and not desired.quarantine and not _is_over(header):
        yield NextAct(ActionType.RELEASE, ARCHIVE, _restoring(header, now))


def _takes_away(header: Header, desired: DesiredState, now: datetime) -> Iterator[NextAct]:
    if desired.quarantine and not is_quarantined(header):
        yield NextAct(ActionType.QUARANTINE, ARCHIVE, _restoring(header, now))
    if desired.denied and not header.denied:
        yield NextAct(ActionType.BLOCK)


def is_quarantined(header: Header) -> bool:
    """Whether it cannot be pulled now, by our act or another's."""
    return header.storage is StorageStatus.ARCHIVED or not header.exists


def is_archived_by_us(header: Header) -> bool:
    """Whether a release restores it: our quarantine holds it, or retention had archived it when a person released it.
    What another principal archives after that is left so."""
    order = header.order
    if header.hold is not None or order is None or not order.restores:
        return header.hold is not None
    return header.activated_at is None or header.activated_at < order.at


RESTORED_SINCE = timedelta(minutes=15)
"""More than the clocks of ECR and of a worker may differ by."""


def settled_hold(header: Header, desired: DesiredState) -> Hold | None:
    """The hold as it stands: a deletion ends it, and so does a restore where it is not wanted any more. What was
    restored since and is archived all the same was archived by another: a lifecycle policy, say.

    Events arrive late: a deletion of before the act ends nothing, because the act found the image there. The push that
    followed may arrive after it.
    """
    hold = header.hold
    if hold is None:
        return None
    if not header.exists:
        return hold if header.existence_at is not None and header.existence_at < hold.at else None
    restored_at = header.activated_at
    again = restored_at is not None and restored_at > hold.at + RESTORED_SINCE
    if again and header.storage is StorageStatus.ARCHIVED:
        return None
    return hold if desired.quarantine or not _is_over(header) else None


def with_hold(header: Header, hold: Hold | None, now: datetime) -> Header:
    """When a quarantine ends is remembered: the next one within a day is no news."""
    if header.hold is None or hold is not None:
        return msgspec.structs.replace(header, hold=hold)
    ended = now if header.exists or header.existence_at is None else header.existence_at
    return msgspec.structs.replace(header, hold=None, held_until=ended)


AGAIN_WITHIN = timedelta(hours=24)


def was_quarantined(header: Header, number: int, now: datetime) -> bool:
    """Whether it was under quarantine within the last day, before the act `number`: who pushes it again and again uses
    up nothing."""
    if header.hold is not None and header.hold.number != number:
        return True
    return header.held_until is not None and header.held_until > now - AGAIN_WITHIN


NO_NEWS_WITHIN = timedelta(hours=1)


def _is_again(header: Header, now: datetime) -> bool:
    """Whether others gave it back within an hour of its last quarantine, by a push say: who does so again and again has
    one alert sent an hour."""
    if header.hold is not None:
        return header.hold.at > now - NO_NEWS_WITHIN
    ended, pushed = header.held_until, header.existence_at
    return ended is not None and pushed is not None and pushed >= ended > now - NO_NEWS_WITHIN


def is_ordered(header: Header) -> bool:
    """Whether a person has ordered what is to be done: it neither waits for the fuse or the brake nor counts there."""
    return header.order is not None and header.order.personal


def _is_over(header: Header) -> bool:
    """What is deleted, or was restored already, needs no release."""
    return not header.exists or header.storage is StorageStatus.ACTIVE


def _restoring(header: Header, now: datetime) -> Deferred | None:
    """An image that is being restored can be neither pulled nor archived."""
    if header.storage is not StorageStatus.ACTIVATING:
        return None
    return Deferred(Holding.RESTORING, "ECR is restoring it", now, now + RESTORE_ASKED_EVERY)


def with_next_act(
    header: Header,
    policy: Policy,
    needed_by: Sequence[str],
    now: datetime,
    *,
    quiet: bool = False,
    follows: int | None = None,
) -> Header:
    """The header with its `pending` holding the act to be done next, and `hold` as it stands. `follows`: the number of
    the policy that decides the image for the first time, from which a new act follows.

    An act that is begun stays until its end was read, whatever is wanted by then. One that is wanted as before keeps
    its number, and what holds it, also while another one goes first (`queued`); else the number rises.
    """
    if header.begun is not None:
        return header
    hold = settled_hold(header, wanted(header, policy, needed_by))
    header = with_hold(header, hold, now)
    notices = header.notices
    former, acts = header.act, next_acts(header, policy, needed_by, now)
    opened = [e for e in (former, *header.queued) if e is not None]
    going_on = [next((e for e in opened if _goes_on(e, act, header, policy, follows)), None) for act in acts]
    if not acts:
        # An image that is deleted and pushed again has no second grace.
        announced = () if header.exists else tuple(e for e in opened if e.held and e.held.why is Holding.GRACE)
        header = msgspec.structs.replace(header, pending=notices, queued=announced)
        return header if former is None else _told_restored(header, former, policy, now)
    first = min(range(len(acts)), key=lambda n: _rests_until(going_on[n], now))
    act, effect, number = acts[first], going_on[first], header.enforcement_number
    news = effect is None
    if effect is None:
        number += 1
        held = act.held or grace_of(header, act, policy, now)
        again = act.kind is ActionType.QUARANTINE and _is_again(header, now)
        effect = PendingAct(act.kind, number, now, method=act.method, held=held, quiet=quiet, again=again)
        if header.order is None:
            effect = msgspec.structs.replace(effect, policy=follows)
    queued = tuple(e for n, e in enumerate(going_on) if e is not None and n != first)
    header = msgspec.structs.replace(header, pending=(effect, *notices), queued=queued, enforcement_number=number)
    if news and effect.held is not None and effect.held.why is Holding.GRACE:
        return with_report(header, effect, f"to be archived: {effect.held.detail}", policy.notify, now)
    return header


def grace_of(header: Header, act: NextAct, policy: Policy, now: datetime) -> Deferred | None:
    """Until when an image is not archived although it is to be, so that people can release or waive it."""
    if act.kind is not ActionType.QUARANTINE or not _has_grace(header, policy):
        return None
    until = now + timedelta(minutes=policy.quarantine.grace_minutes)
    said = f"it is archived at {until:%Y-%m-%d %H:%M} UTC, unless it is released or waived before"
    return Deferred(Holding.GRACE, said, now, until)


def _has_grace(header: Header, policy: Policy) -> bool:
    """What a person orders is done at once, and what was quarantined and came back is quarantined again at once."""
    last = header.enforcement
    was = header.hold is not None or (last is not None and last.kind is ActionType.QUARANTINE)
    return policy.quarantine.grace_minutes > 0 and header.order is None and not was


def _rests_until(effect: PendingAct | None, now: datetime) -> datetime:
    """One that failed lets the others pass until it is tried again: a policy that may not be written keeps no image
    from being released."""
    held = effect.held if effect is not None else None
    until = held.until if held is not None and held.why is Holding.FAILED else None
    return now if until is None else max(until, now)


def _told_restored(header: Header, former: PendingAct, policy: Policy, now: datetime) -> Header:
    """`former` waited for ECR to restore the image. An image that needs it waits as well."""
    waited = former.kind is ActionType.RELEASE and former.held is not None and former.held.why is Holding.RESTORING
    if not waited or not header.exists or header.storage is not StorageStatus.ACTIVE:
        return header
    return with_report(header, former, "restored: it can be pulled again", policy.notify, now, event=RESTORE)


def _goes_on(former: PendingAct, act: NextAct, header: Header, policy: Policy, follows: int | None) -> bool:
    """Whether the act waits, or is on its way, as before. What held it may be over by now."""
    if (former.kind, former.method) != (act.kind, act.method):
        return False
    held = former.held
    if held is None:
        return act.held is None
    match held.why:
        case Holding.OBSERVE | Holding.RESTORING:
            return act.held is not None and act.held.why is held.why
        case Holding.RUNNING:
            return act.held is None and policy.quarantine.when_running == "alert"
        case Holding.GRACE:
            return act.held is None and _has_grace(header, policy)
        case Holding.QUIET:
            return act.held is None and header.order is None
        case Holding.FUSE:
            # A person does not wait for it, and a new policy may have been counted.
            return act.held is None and not is_ordered(header) and follows is None
    return act.held is None


def archive_wanted(header: Header, policy: Policy) -> bool:
    """Whether an archive is wanted, begun or done: closings prove nothing. One that waits is not wanted yet."""
    if header.archive:
        return True
    act = header.act
    wished = act is not None and act.kind is ActionType.QUARANTINE and act.held is None
    return wished and (policy.enforcing or is_forced(header, ActionType.QUARANTINE))


def is_freed(before: Header, after: Header, policy: Policy) -> bool:
    """No archive is wanted any more: closings that were not believed because of it are to be looked at now."""
    if after.kind is not Kind.IMAGE or not after.exists or archive_wanted(after, policy):
        return False
    return archive_wanted(before, policy) or (
        before.judged is Decision.QUARANTINE and before.policy_version != after.policy_version
    )


def is_released(header: Header) -> bool:
    """By a person's order, whatever its verdict is."""
    return header.is_released


MARK_BYTES = 4
MOST_MARKS = 20_000
"""80 KB of a header; what is more counts as not released."""


class Closing(msgspec.Struct, frozen=True):
    """What of one image counts for a release: the findings for which rules close its doors, those that are known to be
    exploited, and the `rules` about the image itself that close them. `scanner`: whose findings are known."""

    image: Header
    findings: tuple[Finding, ...] = ()
    exploited: tuple[Finding, ...] = ()
    rules: tuple[str, ...] = ()
    scanner: Source | None = None

    @property
    def mark(self) -> str:
        return _mark(self.image.ref.path).hex()

    @property
    def reasons(self) -> tuple[str, ...]:
        """What closes it beside findings: rules about the image itself, and the order that stands. A later order is
        another reason."""
        order = self.image.ordered
        ordered = (
            () if order is None else (f"order of {order.at:%Y-%m-%d %H:%M:%S.%f} UTC about {self.image.ref.digest}",)
        )
        return *self.rules, *ordered

    @property
    def unordered(self) -> Closing:
        return msgspec.structs.replace(self, image=msgspec.structs.replace(self.image, order=None))

    @property
    def scanned_by_itself(self) -> bool:
        return self.image.kind is Kind.IMAGE and not self.image.ref.home.public


def closing_of(image: Header, document: FindingsDocument, outcome: RuleOutcome) -> Closing:
    """`outcome`: what the rules say of these findings now. That a scan is lacking or old is no reason: the release was
    given all the same."""
    reasons = [r for r in outcome.verdict.reasons if r.decision.closes_doors and not r.count]
    rules = tuple(reason.rule for reason in reasons if reason.rule not in BUILT_IN_RULES)
    exploited = (f for f in document.findings if f.kev is True and f.status is not FindingStatus.RESOLVED)
    return Closing(image, outcome.closing, tuple(exploited), rules, document.source)


def release_until(order: Order, max_days: int) -> datetime:
    """When it ends at the latest. One of a former version has no end of its own."""
    return order.until or order.at + timedelta(days=max_days)


def turned_release(
    header: Header, closing: Sequence[Closing], max_days: int, now: datetime
) -> tuple[Order | None, str]:
    """The order as it stands now (None: a release has ended), and what people are to be told of it (empty: nothing).

    A release ends at `until`, when a finding of the image turns out to be exploited, and when a rule closes for what
    was not among the reasons released: findings are compared by all their ids. What the first complete scan after a
    restore or a change of the scanner adds counts as released, unless it is exploited. A later order about an image of
    the index ends it too. `closing`: of the image, or of the index and each of its images. `max_days`: the policy's
    `waivers.max_days`.
    """
    order = header.order
    if order is None or not is_released(header):
        return order, ""
    until = release_until(order, max_days)
    if until <= now:
        return None, f"its time was over at {until:%Y-%m-%d %H:%M} UTC"
    if order.released is None:
        verdict, stood = header.verdict, order.standing
        closes = verdict is not None and verdict.decision.closes_doors
        if closes and stood is not None and verdict is not None and verdict.standing.worse_than(stood):
            return None, "the verdict is worse than the one that it was given against"
        return msgspec.structs.replace(order, until=until, released=_released(closing, now)), ""
    return _still_released(order, order.released, closing, now)


def _released(closing: Sequence[Closing], now: datetime) -> Released:
    return Released(
        now,
        closing=_marks(f for one in closing for f in one.findings),
        exploited=_marks(f for one in closing for f in one.exploited),
        rules=tuple(sorted({why for one in closing for why in one.reasons})),
        images=tuple(
            ReleasedImage(
                one.mark, one.scanner, one.scanner is not None and one.image.storage is not StorageStatus.ACTIVE
            )
            for one in closing
            if one.scanned_by_itself
        ),
    )


def beyond(released: Released, closing: Sequence[Closing]) -> tuple[str, ...]:
    """What closes now and was not released: ids of findings, rules, orders."""
    covered = _as_set(released.closing)
    findings = [f.vulnerability_id for one in closing for f in one.findings if not _marks_of(f) & covered]
    reasons = [why for one in closing for why in one.reasons if why not in released.rules]
    return tuple(dict.fromkeys((*findings, *reasons)))


def newly_exploited(released: Released, closing: Sequence[Closing]) -> tuple[str, ...]:
    """The vulnerabilities that are known to be exploited now, and were not when it was given."""
    known = _as_set(released.exploited)
    found = (f.vulnerability_id for one in closing for f in one.exploited if not _marks_of(f) & known)
    return tuple(dict.fromkeys(found))


def released_again(released: Released, closing: Sequence[Closing], now: datetime) -> Released:
    """For a release that is brought back: only a restore to come gives an image a new base."""
    return msgspec.structs.replace(_released(closing, now), closing=released.closing, exploited=released.exploited)


def _still_released(
    order: Order, released: Released, closing: Sequence[Closing], now: datetime
) -> tuple[Order | None, str]:
    if turned := newly_exploited(released, closing):
        return None, f"known to be exploited: {', '.join(some_of(turned, _NAMED))}"
    former = {image.mark: image for image in released.images}
    images: list[ReleasedImage] = []
    rebased: list[Closing] = []
    judged: list[Closing] = []
    for one in closing:
        image, anew = _as_released(one, former.get(one.mark), released.at)
        images += [image] if one.scanned_by_itself else []
        rebased += [one] if anew else []
        # What a person has ordered since needs no scan to be known.
        judged.append(Closing(one.image) if anew or image.awaited else one)
    if added := beyond(released, judged):
        return None, f"not among what it was given for: {', '.join(some_of(added, _NAMED))}"
    news = beyond(released, rebased)
    if tuple(images) == released.images and not news:
        return order, ""
    both = _released(rebased, now)
    let_through = Released(
        now,
        closing=b"".join(sorted(_as_set(released.closing) | _as_set(both.closing))[:MOST_MARKS]),
        exploited=released.exploited,
        rules=tuple(sorted({*released.rules, *both.rules})),
        images=tuple(images),
    )
    words = f"adds {', '.join(some_of(news, _NAMED))}, which it lets pass as well"
    told = f"the first complete scan after its restore, or by another scanner, {words}" if news else ""
    return msgspec.structs.replace(order, released=let_through), told


def _as_released(one: Closing, former: ReleasedImage | None, since: datetime) -> tuple[ReleasedImage, bool]:
    """How it counts from now on, and whether what is known of it now is the new base: its first complete scan after a
    restore, or by another scanner, of an image that was scanned before."""
    image = one.image
    if not one.scanned_by_itself:
        return ReleasedImage(one.mark), False
    scanner = former.scanner if former is not None else None
    if former is None or scanner is None:
        # Nobody knew its findings: they are none that the archive had hidden.
        complete = image.scan.state is ScanState.COMPLETE
        return ReleasedImage(one.mark, one.scanner if complete else None), False
    switched = one.scanner not in (None, scanner)
    restored = image.activated_at is not None and image.activated_at > since
    back = restored or image.storage is not StorageStatus.ACTIVE or former.awaited
    scanned = back and _is_scanned_since_restore(image)
    return ReleasedImage(one.mark, one.scanner or scanner, back and not scanned), scanned or switched


def _is_scanned_since_restore(image: Header) -> bool:
    """The first look after a restore may still see what the archive had closed: the next one counts."""
    scan, restored_at = image.scan, image.activated_at
    if image.storage is not StorageStatus.ACTIVE or scan.state is not ScanState.COMPLETE or scan.scanned_at is None:
        return False
    if restored_at is not None and scan.scanned_at <= restored_at:
        return False
    return image.revived_at is None or image.refreshed_at is None or image.refreshed_at > image.revived_at


_NAMED = 3


def _mark(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=MARK_BYTES).digest()


def _marks_of(finding: Finding) -> frozenset[bytes]:
    return frozenset(_mark(name) for name in (finding.vulnerability_id, *finding.related_ids))


def _marks(findings: Iterable[Finding]) -> bytes:
    return b"".join(sorted({mark for finding in findings for mark in _marks_of(finding)})[:MOST_MARKS])


def _as_set(marks: bytes) -> frozenset[bytes]:
    return frozenset(marks[i : i + MARK_BYTES] for i in range(0, len(marks), MARK_BYTES))


def _author(header: Header) -> tuple[str, str]:
    """Who wants it, and why: the person whose order stands, else the strongest reason of the verdict."""
    if header.order is not None:
        return header.order.actor, header.order.reason
    if header.verdict is None or not header.verdict.reasons:
        return "system", "the verdict asks for nothing"
    first = header.verdict.reasons[0]
    return f"rule:{first.rule}", first.detail


def _excuse(header: Header) -> tuple[str, str]:
    """Who lets it go, and why: the rule whose every match is waived, else whatever the verdict says now."""
    reasons = header.verdict.reasons if header.verdict else ()
    waived = next((r for r in reasons if r.waived and r.decision is Decision.ALLOW), None)
    if waived is None:
        return _author(header)
    return f"rule:{waived.rule}", f"{waived.detail}, by {', '.join(waived.waived)}"
