"""Where the table and the registry differ, and which of our own work is overdue, by cheap listings alone. Pure.

An image with a begun act is left alone until the act has ended, and everything younger than `consistency_delay` is left
to its event. Scans and findings are compared in `scan_comparison.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from chalicelib.domain.events.event import Action
from chalicelib.domain.events.sweep_message import RECORD_SIGNATURE, SETTLE_TAG
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.image import ImageDetail, Kind, StorageStatus
from chalicelib.domain.images.signature import signed_among
from chalicelib.domain.reconcile.difference import Difference
from chalicelib.domain.reconcile.difference import DifferenceKind as K
from chalicelib.domain.reconcile.repository_view import RepositoryView, is_half_known, is_stored_elsewhere
from chalicelib.domain.reconcile.scan_comparison import compare_scan
from chalicelib.domain.waivers.change import concerns

CLOCK_LOST_AFTER = timedelta(hours=2)
"""The clock runs every five minutes, and waits an hour for Inspector's answer."""


def compare(view: RepositoryView) -> list[Difference]:
    """By digest; an image may have several differences."""
    found: list[Difference] = []
    holders = {tag: digest for digest, detail in view.listed.images.items() for tag in detail.tags}
    lost, signed = _lost_tags(view, holders), signed_among(view.listed.images.values())
    for digest in sorted({*view.listed.images, *view.headers}):
        detail, header = view.listed.images.get(digest), view.headers.get(digest)
        found += lost.get(digest, ())
        if detail is not None:
            known = None if detail.ref.home.public else digest in signed
            found += _of_listed(view, detail, header, holders, known)
        elif header is not None:
            found += _of_absent(view, header)
        if header is not None:
            found += _of_clock(header, view.listed.listed_at)
    return found


def behind(header: Header, document_revision: int, rules: Rules) -> Difference | None:
    """Whether it was decided before the stored document, policy or waivers. Waivers about others do not count."""
    if header.kind is not Kind.ARTIFACT and header.revision != document_revision:
        return Difference(K.BEHIND, header.ref, detail="its document")
    if not header.present or header.kind is Kind.ARTIFACT:
        return None
    if header.policy_version < rules.policy_version:
        return Difference(K.BEHIND, header.ref, detail="the policy")
    tells = not any(rule.sees_resolved for rule in rules.policy.rulebook)
    if header.waivers_version < rules.waivers_version and any(
        concerns(waiver, header.ref.repository, header.sketch, sketch_tells=tells) for waiver in rules.waivers
    ):
        return Difference(K.BEHIND, header.ref, detail="the waivers")
    return None


def _of_listed(
    view: RepositoryView, detail: ImageDetail, header: Header | None, holders: Mapping[str, str], signed: bool | None
) -> Iterator[Difference]:
    if view.is_recent(detail.pushed_at):
        return
    if header is not None and (header.begun is not None or (not header.exists and view.is_recent(header.existence_at))):
        return
    known = header or Header(ref=detail.ref)
    if not known.exists or is_half_known(known, detail):
        yield from _unheard(view, detail, known, signed)
    else:
        yield from _heard(view, detail, known, signed)
    yield from _tags_gone(view, detail, known, holders)
    yield from compare_scan(view, detail, header)


def _unheard(view: RepositoryView, detail: ImageDetail, known: Header, signed: bool | None) -> Iterator[Difference]:
    """One for each lost push: there was one for each tag."""
    tags = _new_tags(view, detail, known)
    yield from (Difference(K.MISSING, detail.ref, Action.PUSH, tag, signed=signed) for tag in tags)
    if not tags:
        yield Difference(K.MISSING, detail.ref, Action.PUSH, signed=signed)


def _heard(view: RepositoryView, detail: ImageDetail, header: Header, signed: bool | None) -> Iterator[Difference]:
    if is_stored_elsewhere(header, detail) and not (
        view.is_recent(detail.archived_at) or view.is_recent(detail.activated_at)
    ):
        yield Difference(_moved(header, detail), detail.ref, Action.UPDATE_STORAGE_CLASS)
    yield from (Difference(K.TAG_MOVED, detail.ref, Action.PUSH, tag) for tag in _new_tags(view, detail, header))
    followed = header.kind is Kind.INDEX and header.unreadable is None
    if followed and detail.storage is StorageStatus.ACTIVE and _lacks_children(view, header):
        yield Difference(K.CHILDREN_UNKNOWN, detail.ref, Action.PUSH)
    elif not header.kind_read and (header.kind is Kind.ARTIFACT or not detail.ref.home.public):
        yield from _kind_unread(header, detail, signed)
    elif header.kind is not Kind.ARTIFACT and signed is not None and header.signed is not signed:
        yield Difference(K.SIGNATURE, detail.ref, RECORD_SIGNATURE, signed=signed)


def _kind_unread(header: Header, detail: ImageDetail, signed: bool | None) -> Iterator[Difference]:
    """An archived image has no manifest to be had, nor has a public one: without one each counts as what its media type
    says."""
    if detail.storage is StorageStatus.ACTIVE:
        yield Difference(K.KIND_UNREAD, detail.ref, Action.PUSH, signed=signed)
    elif header.kind is Kind.ARTIFACT:
        yield Difference(K.KIND_UNREAD, detail.ref, Action.UPDATE_STORAGE_CLASS)


def _moved(header: Header, detail: ImageDetail) -> K:
    if detail.storage is StorageStatus.ARCHIVED:
        return K.ARCHIVED
    held = header.hold is not None and header.storage is StorageStatus.ARCHIVED
    return K.CAME_BACK if held else K.RESTORED


def _new_tags(view: RepositoryView, detail: ImageDetail, header: Header) -> list[str]:
    """Tags that the header or the tag's item does not know: a refresh updates the header alone."""
    known = {tag for tag in header.tags if header.exists and view.tags.get(tag) == detail.ref.digest}
    return sorted({*detail.tags} - known)


def _tags_gone(
    view: RepositoryView, detail: ImageDetail, header: Header, holders: Mapping[str, str]
) -> Iterator[Difference]:
    """A tag that moved is repaired at the image that has it now, unless its item points there already."""
    for tag in sorted({*header.tags} - {*detail.tags}) if header.exists else ():
        holder = holders.get(tag)
        if holder is None and view.tags.get(tag) != detail.ref.digest:
            yield Difference(K.TAG_DELETED, detail.ref, Action.DELETE, tag)
        elif holder is not None and view.tags.get(tag) == holder:
            yield Difference(K.TAG_UNSETTLED, detail.ref, SETTLE_TAG, tag)


def _lost_tags(view: RepositoryView, holders: Mapping[str, str]) -> dict[str, list[Difference]]:
    """Tags that no image has any more, by the image that their item points at; a deleted image's are left out."""
    lost: dict[str, list[Difference]] = {}
    for tag, digest in sorted(view.tags.items()):
        header = view.headers.get(digest) if digest is not None else None
        if digest is None or header is None or tag in holders or header.begun is not None:
            continue
        detail = view.listed.images.get(digest)
        if detail is not None and view.is_recent(detail.pushed_at):
            continue
        if detail is not None or not (header.exists and tag in header.tags):
            lost.setdefault(digest, []).append(Difference(K.TAG_DELETED, header.ref, Action.DELETE, tag))
    return lost


def _lacks_children(view: RepositoryView, index: Header) -> bool:
    children = [view.headers.get(child.digest) for child in index.children]
    return not children or any(child is None or index.ref.digest not in child.parents for child in children)


def _of_absent(view: RepositoryView, header: Header) -> Iterator[Difference]:
    """Stored, and not in a whole listing. Without a push it became known by a refresh, or by its index."""
    heard_at = header.existence_at or header.known_at
    if not header.exists or header.begun is not None or heard_at is None:
        return
    if not view.is_recent(heard_at) and not view.is_recent(header.pushed_at):
        yield Difference(K.DELETED, header.ref, Action.DELETE)


def _of_clock(header: Header, now: datetime) -> Iterator[Difference]:
    for effect in header.pending:
        if effect.due_at is not None and effect.due_at <= now:
            yield Difference(K.EFFECT_LOST, header.ref, effect=effect.key)
    if header.present and header.decide_at is not None and header.decide_at <= now - CLOCK_LOST_AFTER:
        yield Difference(K.DECISION_LOST, header.ref)
