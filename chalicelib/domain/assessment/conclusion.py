"""The header of one image as it must be put: what a refresh says of it, then what rules and time conclude. Pure.

Pending acts are levels: they follow from the verdict at every write (`enforcement.py`). Only alerts are edges: they are
keyed by the verdict's number, and carried over until the queue has accepted them. A waiver that ends over many images
turns many verdicts within minutes, and one summary announces them (`watch_waivers.py`); an image's own alert stays
pending until then, and is sent by itself where no summary came in time.

Refreshes are ordered by AWS's clock, never by the order in which workers write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import VERDICT, channels_hearing
from chalicelib.domain.alerts.verdict_alert import got_worse, should_announce
from chalicelib.domain.assessment.scanned_copy import ScannedCopy, judged_by_copy
from chalicelib.domain.enforcement.act_report import with_order_report
from chalicelib.domain.enforcement.enforcement import (
    Closing,
    closing_of,
    is_released,
    release_until,
    turned_release,
    with_next_act,
)
from chalicelib.domain.enforcement.mirrored_order import lapsed
from chalicelib.domain.headers.header import Door, Header, Rules, sketch_of
from chalicelib.domain.headers.pending_action import EndedWaivers, PendingAction, PendingAlert, PendingReport
from chalicelib.domain.headers.twin import origin_verdicts, origins_of
from chalicelib.domain.images.finding import Finding, FindingsDocument, FindingStatus, Listing, Severity
from chalicelib.domain.images.image import InUseState, Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.images.verdict import Decision, OriginVerdict, Verdict, VerdictSummary
from chalicelib.domain.policy.decision import RuleOutcome, decide
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Route
from chalicelib.domain.policy.waiver import WaiverBook
from chalicelib.domain.waivers.alert import WAIVER

NOT_SINCE = "not scanned since it came back"


def observe(
    header: Header,
    listing: Listing | None,
    unavailable: Scan | None,
    consistency_delay: timedelta = timedelta(0),
    *,
    holds_open: bool = False,
) -> Header:
    """What a look says of the image beside its findings. An older look than the one known changes nothing here.

    `holds_open`: the stored document has findings that are not resolved, which this look might close.

    A first look also makes the image known, even one that failed: what cannot be looked up is shown, not left out.
    Whether an image exists that a push or a deletion told of, they decide. Until a complete look says otherwise the
    time of the last scan stays, whichever scanner it was: what was found then is relied on, and grows old.
    """
    told = header.existence_at is not None
    exists = header.exists if told else True
    if unavailable is not None:
        scan = msgspec.structs.replace(header.scan, state=unavailable.state, reason=unavailable.reason)
        return msgspec.structs.replace(header, scan=scan, exists=exists)
    if listing is None or is_outdated(header, listing, consistency_delay):
        return header
    scan = listing.scan
    if scan.scanned_at is None and (not listing.complete or header.scan.source is listing.source):
        scan = msgspec.structs.replace(scan, scanned_at=header.scan.scanned_at)
    revived = listing.complete and holds_open and _comes_back(header, listing, consistency_delay)
    return msgspec.structs.replace(
        header,
        scan=msgspec.structs.replace(scan, source=listing.source),
        scan_seen_at=_latest(listing.listed_at, header.scan_seen_at),
        refreshed_at=_latest(listing.listed_at, header.refreshed_at) if listing.complete else header.refreshed_at,
        revived_at=listing.listed_at if revived else header.revived_at,
        exists=exists,
        in_use=header.in_use.beside(listing.in_use),
        architecture=header.architecture or listing.architecture,
        platform=header.platform or listing.platform,
        tags=header.tags if told else header.tags or listing.tags,
        pushed_at=header.pushed_at or listing.pushed_at,
    )


def _latest(*times: datetime | None) -> datetime | None:
    return max(filter(None, times), default=None)


def _comes_back(header: Header, listing: Listing, consistency_delay: timedelta) -> bool:
    """Whether this may be the first complete look after an archive or a lapse.

    Where no message told us of it, its trace does: a scan younger than `consistency_delay` beside a list in which all
    is closed.
    """
    if header.scan.state is not ScanState.COMPLETE:
        return True
    scanned_at = listing.scan.scanned_at
    if listing.source is Source.BASIC or _is_known(header, listing, consistency_delay):
        return False
    if any(f.status is not FindingStatus.RESOLVED for f in listing.findings):
        return False
    return scanned_at is not None and scanned_at > listing.listed_at - consistency_delay


def _is_known(header: Header, listing: Listing, consistency_delay: timedelta) -> bool:
    """Whether it came back to our knowledge just before: or a scanner always at it would keep all open for ever."""
    since, last = header.revived_at, header.refreshed_at
    if since is None or last is None:
        return False
    return last < since + consistency_delay and listing.listed_at < since + 5 * consistency_delay


def is_outdated(header: Header, listing: Listing, consistency_delay: timedelta) -> bool:
    """Whether more is known than the listing could see: its closings prove nothing, and the header stays as it is.

    Of Inspector's the newer look stands; of ECR's own scanner, whose answers may lag behind, the newer finished scan.
    """
    known, new = header.scan, listing.scan
    older = header.scan_seen_at is not None and listing.listed_at < header.scan_seen_at
    if not (listing.source is known.source is Source.BASIC and known.state is ScanState.COMPLETE and known.scanned_at):
        return older
    if new.scanned_at is None:
        running = new.state in (ScanState.PENDING, ScanState.IN_PROGRESS)
        return older or (running and listing.listed_at <= known.scanned_at + consistency_delay)
    return older if new.scanned_at == known.scanned_at else new.scanned_at < known.scanned_at


def restored(header: Header, at: datetime | None) -> Header:
    """`at`: when the registry says the image was last restored from its archive."""
    if at is None or (header.activated_at is not None and at <= header.activated_at):
        return header
    return come_back(msgspec.structs.replace(header, activated_at=at), at)


def come_back(header: Header, at: datetime) -> Header:
    """The image can be scanned again since `at`: what Inspector found before that is no scan of it now."""
    scan = header.scan
    complete = scan.state is ScanState.COMPLETE and scan.source is Source.ENHANCED and (scan.scanned_at or at) <= at
    archived = scan.state is ScanState.ARCHIVED and header.storage is StorageStatus.ACTIVE
    if not complete and not archived:
        return header
    scan = msgspec.structs.replace(scan, state=ScanState.PENDING, reason=NOT_SINCE)
    return msgspec.structs.replace(header, scan=scan)


def begin_anew(header: Header, at: datetime) -> Header:
    """The image was deleted, alone or with its repository, and is there again since `at`. No scan and no signature of
    before says what it is now, so what was clean is PENDING. Findings, orders and acts stand: what they close stays
    closed. Whatever was scanned since stays as it is."""
    again = come_back(msgspec.structs.replace(header, scan=header.scan.since(at)), at)
    if again.scan.state is ScanState.COMPLETE:
        return header
    return msgspec.structs.replace(again, refreshed_at=None, signed=None)


_MOMENT = timedelta(seconds=1)


def announce(
    header: Header,
    verdict: Verdict,
    ended: EndedWaivers | None,
    notify: Sequence[Route],
    now: datetime,
    *,
    told_by_image: bool = False,
    quiet: bool,
) -> Header:
    """The header with the verdict (numbered, another one than it has), what people are to be told, and what they know.

    `ended`: by which waivers' end alone it was turned. `told_by_image`: the alert of an index's image tells it.
    `quiet`: the summary of something else does.
    """
    former, decision = header.verdict, verdict.decision
    # What an index is worse by, its images have told already: to the same routes, as they share its repository.
    compared = None if header.kind is Kind.INDEX else former
    waiting = header.left_to_summary
    known, pending = header.announced, header.pending
    if waiting is not None and (
        ended is not None or decision is not waiting.decision or got_worse(verdict, compared)
    ):  # what waits is outdated, and people have not been told of it
        known, pending = waiting.former, tuple(e for e in header.pending if e is not waiting)
    loud = should_announce(header.ref, verdict, compared, known, notify)
    alert = PendingAlert(verdict.number, now, decision, known)
    if ended is not None and _is_summed(header, decision, known, notify, loud=loud):
        pending = (*pending, msgspec.structs.replace(alert, ended=ended))
    elif loud and not quiet:
        pending = pending if told_by_image else (*pending, alert)
    elif loud or decision.closes_doors:
        pending = header.pending
    return msgspec.structs.replace(header, verdict=verdict, announced=decision if loud else known, pending=pending)


def is_told_by_image(header: Header, verdict: Verdict, told: Sequence[Verdict]) -> bool:
    """Whether the alert of an index's image says what the index becomes, to the same routes: the image was decided
    since, and is as bad as the index or has made it less bad. What an image was already when the index was pushed is
    news of the index."""
    former = header.verdict
    if header.kind is not Kind.INDEX or former is None:
        return False
    since = [t for t in told if t.decided_at >= former.decided_at]
    less_bad = verdict.decision.rank < former.decision.rank
    return any(less_bad or t.decision.rank >= verdict.decision.rank for t in since)


def _is_summed(
    header: Header, decision: Decision, known: Decision | None, notify: Sequence[Route], *, loud: bool
) -> bool:
    """Whether the summary is to count it: also what is too low for the routes, as a summary is told to all of them. A
    channel that hears of verdicts, and not of waivers, is told image by image as ever."""
    repository = header.ref.repository
    former = header.verdict.decision if header.verdict is not None else Decision.PENDING
    if not (loud or decision.rank > former.rank):
        return False
    summed = set(channels_hearing(notify, WAIVER, repository))
    return bool(summed) and summed >= set(channels_hearing(notify, VERDICT, repository, decision, known))


class Grounds(msgspec.Struct, frozen=True):
    """What the decision about an image hangs on beside rules and time. `children`: how the images of an index stand.
    `copy`: by whose findings a public image is judged that no origin says anything about."""

    header: Header
    findings: Sequence[Finding]
    children: Sequence[VerdictSummary] = ()
    indexes: Sequence[Header] = ()
    copy: ScannedCopy | None = None

    def outcome(self, rules: Rules, now: datetime, ended: Sequence[EndedWaivers | None] = ()) -> RuleOutcome:
        """`ended`: of each of the children, the waivers with which it is to be taken."""
        policy, waivers = rules.policy, rules.waivers
        children = self.children
        if self.header.ref.home.public:
            origins = origins_of(self.header.heard, rules.publication_of(self.header.ref.repository))
            children = origin_verdicts(origins, policy, waivers, now)
            ended = [origin.ended for origin in origins] if ended else ()
        stood = [_with_waivers(s, e) for s, e in zip(children, ended, strict=True)] if ended else children
        state = self.header.state(stood, self.indexes)
        if self.copy is None:
            return decide(state, self.findings, policy, waivers, now)
        state = judged_by_copy(state, self.copy, policy, waivers, now)
        outcome = decide(state, self.copy.findings, policy, waivers, now)
        # An origin that is gone speaks again when what excused it ends.
        excusing = {name for one in children if isinstance(one, OriginVerdict) for name in one.waived}
        ends = [w.expires_at for w in waivers if w.id in excusing]
        moments = [at for at in (outcome.decide_at, *ends) if at is not None]
        return msgspec.structs.replace(outcome, decide_at=min(moments, default=None))


def _with_waivers(stands: VerdictSummary, ended: EndedWaivers | None) -> VerdictSummary:
    if ended is None or not isinstance(stands, OriginVerdict):
        return stands if ended is None else ended.standing
    with_them = ended.standing
    return OriginVerdict(
        with_them.decision, with_them.critical, with_them.kev, ended.waivers, judged_at=stands.judged_at
    )


def ended_alone(
    grounds: Grounds, rules: Rules, now: datetime, below: Sequence[EndedWaivers | None]
) -> EndedWaivers | None:
    """The waivers by whose end alone the verdict will be another one: with them it would be the one that the header
    has. None: something else has changed besides, or no waiver ended.

    `below`: of each of the children, what it is turned by and people were not told yet.
    """
    header = grounds.header
    former, waiting = header.verdict, header.left_to_summary
    over = {w.id for w in rules.waivers if former and w.id in former.waived and not w.in_force(now)}
    names = over | {name for ended in below if ended for name in ended.waivers}
    if former is None or not names:
        return None
    revived = [msgspec.structs.replace(w, expires_at=now + _MOMENT) if w.id in over else w for w in rules.waivers]
    given = msgspec.structs.replace(rules, waivers=tuple(revived))
    with_them = grounds.outcome(given, now, below).verdict.kept()
    earlier = waiting.ended if waiting is not None else None
    then = msgspec.structs.replace(header, verdict=with_them).standing
    as_before = earlier is not None and then == earlier.standing
    if not (as_before or with_them.same_as(former)):
        return None
    names |= set(earlier.waivers) if earlier else set()
    return EndedWaivers(tuple(sorted(names)), earlier.standing if earlier else header.standing)


KEV_EVERY = timedelta(days=1)


def asks_exploited(
    header: Header, rules: Rules, now: datetime, indexes: Sequence[Header] = ()
) -> Callable[[Finding], bool]:
    """Of which open findings it is asked whether they are exploited: where a rule depends on it, where it would end the
    excuse of a waiver, and where it would end a person's release of the image or of an index that holds it."""
    policy = rules.policy
    released = any(is_released(one) for one in (header, *indexes))
    book = WaiverBook(rules.waivers, header.ref.repository, now)

    def asks(finding: Finding) -> bool:
        if policy.asks_kev and policy.asks(finding):
            return True
        if finding.source is not Source.ENHANCED or finding.kev is True:
            return False
        return (released or book.asks_exploited(finding)) and policy.may_punish(finding)

    return asks


def conclude(
    header: Header,
    document: FindingsDocument,
    rules: Rules,
    now: datetime,
    *,
    children: Sequence[VerdictSummary] = (),
    indexes: Sequence[Header] = (),
    needed_by: Sequence[str] = (),
    ended: Sequence[EndedWaivers | None] = (),
    told: Sequence[Verdict] = (),
    below: Sequence[Closing] = (),
    copy: ScannedCopy | None = None,
    quiet: bool = False,
) -> Header:
    """The header as it must be put: counts, sketch, verdict, when to decide again, what is still to be done.

    `children`: how the images of an index stand; it takes the worst. `indexes`: those that hold the image: its users
    know it by their tags, and a signature of one of them is one of the image. `needed_by`: what those keep from being
    done to it. `quiet`: one of many (a first fill, a policy change): the summary announces it. `ended`: of each of the
    children, the waivers by whose end alone it stands so, which people were not told yet. `told`: of the children, the
    verdicts that people are told of. `below`: of an image that a person has released, what closes the images it holds.
    `copy`: of a public image that no origin says anything about, the image by whose findings it is judged.
    """
    newer = header.verdict is not None and header.policy_version < rules.policy_version
    follows = rules.policy_version if newer else None
    header = msgspec.structs.replace(
        header,
        scan=header.readable(header.scan),
        revision=document.revision,
        counts=count_open(document.findings),
        suppressed=sum(f.status is FindingStatus.SUPPRESSED for f in document.findings),
        sketch=sketch_of(document.findings),
        policy_version=rules.policy_version,
        waivers_version=rules.waivers_version,
    )
    if header.kind is Kind.ARTIFACT:
        header = msgspec.structs.replace(header, verdict=None, pending=() if header.act is None else (header.act,))
    if header.kind is Kind.ARTIFACT or not header.present:
        header = msgspec.structs.replace(header, decide_at=None)
        return with_due(with_next_act(header, rules.policy, needed_by, now, quiet=quiet, follows=follows))
    grounds = Grounds(header, document.findings, children, indexes, copy)
    outcome = grounds.outcome(rules, now)
    decide_at = outcome.decide_at
    asks = asks_exploited(header, rules, now, indexes)
    if any(f.open and asks(f) for f in document.findings):
        decide_at = min(decide_at or now + KEV_EVERY, _next_refresh(header.decide_at, now))
    header = msgspec.structs.replace(header, decide_at=decide_at)
    verdict, former = outcome.verdict.kept(), header.verdict
    if not verdict.same_as(former):
        turned = ended_alone(msgspec.structs.replace(grounds, header=header), rules, now, ended)
        number = header.verdict.number + 1 if header.verdict else 1
        verdict = msgspec.structs.replace(verdict, number=number, policy_version=rules.policy_version, decided_at=now)
        by_image = is_told_by_image(header, verdict, told)
        header = announce(header, verdict, turned, rules.policy.notify, now, told_by_image=by_image, quiet=quiet)
        # Where a person's release of the index ends by it, its act is news.
        quiet = quiet or (by_image and header.order is None)
    elif header.verdict is not None:
        header = msgspec.structs.replace(header, verdict=verdict.as_one_with(header.verdict))
    header = msgspec.structs.replace(header, closing_at=_closing_at(header))
    judged = document if copy is None else copy.document
    header = _with_release(header, (closing_of(header, judged, outcome), *below), rules.policy.waivers.max_days, now)
    header = _with_mirrors(header, now)
    header = msgspec.structs.replace(header, door=_door(header, former, rules.policy, now))
    quiet = quiet or header.left_to_summary is not None
    return with_due(with_next_act(header, rules.policy, needed_by, now, quiet=quiet, follows=follows), now)


def _with_release(header: Header, closing: Sequence[Closing], max_days: int, now: datetime) -> Header:
    """With a release as it stands now. Its end waits in `pending` until it is recorded and told."""
    before = header.order
    order, words = turned_release(header, closing, max_days, now)
    header = msgspec.structs.replace(header, order=order)
    if before is not None and words:
        header = with_order_report(header, before, words, now)
    if order is None or not is_released(header):
        return header
    until = release_until(order, max_days)
    return msgspec.structs.replace(header, decide_at=min(header.decide_at or until, until))


def _with_mirrors(header: Header, now: datetime) -> Header:
    """Of a copy that is quarantined with its sources: without those that are gone. Told and recorded as the end of a
    release is."""
    order = header.order
    if order is None or not order.mirrors:
        return header
    left = lapsed(order, now)
    if left is None:
        gone = msgspec.structs.replace(header, order=None)
        return with_order_report(gone, order, f"because since long no look has found that {order.reason}", now)
    until = min(mirror.until for mirror in left.mirrors)
    return msgspec.structs.replace(header, order=left, decide_at=min(header.decide_at or until, until))


def _closing_at(header: Header) -> datetime | None:
    verdict = header.verdict
    if header.closing_at is None and verdict is not None and verdict.decision.closes_doors:
        return verdict.decided_at
    return header.closing_at


ASKED_EVERY, ASKED_AGAIN = timedelta(hours=12), timedelta(hours=1)
"""How often an image that a door would refuse is looked for where images run; sooner where the last look failed."""


def _door(header: Header, former: Verdict | None, policy: Policy, now: datetime) -> Door | None:
    """Since when a cluster would refuse its Pods, and when to ask next whether they run. `former`: the verdict before.
    Weeks in which the policy observed do not count, nor do those in which a person had released the image."""
    door, at = header.door, now.replace(microsecond=0)
    if not header.is_refused(policy):
        if door is None or door.refused_at is None:
            return door
        return msgspec.structs.replace(door, lapsed_at=door.lapsed_at or at, look_at=None)
    door = door or Door()
    told_by_inspector = header.in_use.state is InUseState.YES and not header.in_use.looked
    door = msgspec.structs.replace(
        door.seen(header.in_use) if told_by_inspector else door,
        refused_at=door.refused_at if door.goes_on(at) else at,
        lapsed_at=None,
        opened=door.opened or (former is not None and former.decision in (Decision.ALLOW, Decision.WARN)),
        scanned=door.scanned or header.was_scanned,
    )
    return msgspec.structs.replace(door, look_at=_look_at(header, door, policy, now))


def _look_at(header: Header, door: Door, policy: Policy, now: datetime) -> datetime | None:
    """None: no answer could open a door. Who runs a public image cannot be asked."""
    assert door.refused_at is not None
    if header.ref.home.public or header.taken_away or not door.has_grace(header.decision):
        return None
    answered = door.asked_at == door.answered_at
    at = door.asked_at + (ASKED_EVERY if answered else ASKED_AGAIN) if door.asked_at else door.refused_at
    return at if max(at, now) < door.refused_at + policy.running_grace(header.reasons) else None


def _next_refresh(stored: datetime | None, now: datetime) -> datetime:
    """When KEV facts are asked for again: what is planned already stays, or every write would move it."""
    return stored if stored is not None and now < stored <= now + KEV_EVERY else now + KEV_EVERY


def with_due(header: Header, now: datetime | None = None) -> Header:
    """Keeps a `due_at` that would only move later: the clock corrects it in time, and an index write is saved.

    One that is past has done its work, or the clock would come again and again. `now` None: the clock has just come to
    it, and nothing is kept. While a refresh is promised, an alert that is sent at once counts for nothing: it is gone
    by then, or the header that the refresh puts counts it.
    """
    kept = header.due_at if header.due_at is not None and now is not None and header.due_at > now else None
    refreshed = header.exists and header.refresh_due_at is not None
    waiting = (e.due_at for e in header.pending if not (refreshed and _is_sent_at_once(e)))
    look_at = None if header.door is None or not header.exists else header.door.look_at
    moments = [at for at in (*waiting, header.decide_at, look_at, kept) if at is not None]
    due = min(moments, default=None)
    return msgspec.structs.replace(header, due_at=due)


def _is_sent_at_once(action: PendingAction) -> bool:
    """An alert or a report that no summary is to announce."""
    return isinstance(action, PendingReport) or (isinstance(action, PendingAlert) and not action.left_to_summary)


def count_open(findings: Iterable[Finding]) -> tuple[int, ...]:
    counts = [0] * len(Severity)
    for finding in findings:
        if finding.open:
            counts[finding.severity.digit] += 1
    return tuple(counts)
