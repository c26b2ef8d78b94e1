"""Alerts about what a digest is: images that counted as artifacts, and a kind that changes under an order or a hold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from chalicelib.domain.alerts.alert import Alert, titled
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind, Repository
from chalicelib.domain.images.text import some_of

SUMMARY, TAMPERING = "summary", "tampering"
NAMED = 100


def compose_mistaken_alert(home: Repository, headers: Sequence[Header], now: datetime) -> Alert:
    """`headers`: of images that counted as artifacts, and by their manifests are none."""
    number = len(headers)
    what = "1 image was" if number == 1 else f"{number} images were"
    return Alert(
        event=SUMMARY,
        title=f"{home.name}: {what} taken for {'an artifact' if number == 1 else 'artifacts'}",
        at=now,
        repository=home.name,
        notes=(
            "By its manifest each of these is an image: a label had said otherwise, and no rule judged it. "
            "Each is judged now, and so is each index that holds one.",
            *some_of([f"{titled(h.ref, h.tags)} ({h.ref})" for h in headers], NAMED),
        ),
        what_to_do=("See who pushed them, and where they run: lazaretto image IMAGE",),
    )


def compose_kind_alert(header: Header, kind: Kind, now: datetime) -> Alert:
    """`header` as it is stored; `kind` is what the manifest says."""
    return Alert(
        event=TAMPERING,
        title=f"{titled(header.ref, header.tags)}: by its manifest {kind}, {header.kind} until now",
        at=now,
        ref=header.ref,
        repository=header.ref.repository,
        tags=header.tags,
        notes=(f"{_standing(header)}. What it is decides whether that stays.",),
        what_to_do=(f"See what stands now: lazaretto image {header.ref}",),
    )


def compose_unjudged_alert(header: Header, why: str, now: datetime) -> Alert:
    """`why`: what keeps an image or an index from being judged."""
    return Alert(
        event=TAMPERING,
        title=f"{titled(header.ref, header.tags)}: not judged, and not clean",
        at=now,
        ref=header.ref,
        repository=header.ref.repository,
        tags=header.tags,
        notes=(f"Why: {why}.",),
        what_to_do=("See who pushed it, and delete tags and indexes that nothing needs any more.",),
    )


def is_bound(header: Header) -> bool:
    """Whether an order, a hold or a closed door hangs on the image."""
    return header.order is not None or header.hold is not None or header.denied or header.decision.closes_doors


def _standing(header: Header) -> str:
    if header.order is not None:
        return f"{header.order.actor} has ordered its {header.order.kind.lower()}"
    if header.hold is not None or header.denied:
        return "It is quarantined" if header.hold is not None else "Its repository denies pulls because of it"
    return f"Its decision is {header.decision}"
