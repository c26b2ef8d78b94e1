"""Gather what is stored about an image that could not be pulled: itself, its tag, its members, and our Deny."""

from __future__ import annotations

from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.pulled_image import manifest_digests
from chalicelib.domain.headers.effect import EffectKind
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.pulls.evidence import Evidence, LostTag
from chalicelib.services.ports.ports import House


def gather_evidence(failed: FailedPull, house: House, role: str | None = None) -> Evidence:
    """`role`: by which it was pulled, where the caller knows. AWS is not asked. Raises TransientError."""
    home, tag = failed.pulled.home, failed.pulled.tag
    digest, lost = failed.pulled.digest, None
    if digest is None and tag is not None:
        digest, lost = _pointed(home, tag, house)
    header = known_header(home.image(digest), house) if digest is not None else None
    members = _members(header, failed.said, house) if header is not None and lost is None else ()
    return Evidence(failed, header, members, lost, _denied(home, header, house), role=role)


def known_header(ref: ImageRef, house: House) -> Header | None:
    stored = house.table.read_headers([ref]).get(ref)
    return stored.header if stored is not None else None


def _pointed(home: Repository, tag: str, house: House) -> tuple[str | None, LostTag | None]:
    """The digest that the tag points at; of one that points nowhere, the digest it pointed at before."""
    move = house.table.last_tag_move(home, tag)
    if move is None or move.digest is not None:
        return (move.digest if move is not None else None), None
    return move.former, LostTag(home.image(move.former) if move.former is not None else None, move.at)


def _members(index: Header, said: str, house: House) -> tuple[Header, ...]:
    """The images of an index: those that the text names, else all of them."""
    children = [child.digest for child in index.children if not child.artifact]
    named = set(manifest_digests(said)) & set(children)
    refs = [index.ref.home.image(digest) for digest in children if not named or digest in named]
    found = house.table.read_headers(refs) if refs else {}
    return tuple(found[ref].header for ref in refs if ref in found)


def _denied(home: Repository, header: Header | None, house: House) -> tuple[ImageRef, ...]:
    """The images because of which we deny all pulls; one whose Deny was begun may be the reason already."""
    digests = house.table.read_denied(home).digests
    if header is not None and header.begun is EffectKind.BLOCK and header.ref.digest not in digests:
        digests = (*digests, header.ref.digest)
    return tuple(home.image(digest) for digest in digests)
