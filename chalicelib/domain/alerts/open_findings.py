"""The number of open findings in words for people: none is only said where everything was listed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Kind

NOT_KNOWN = "not known: no complete scan yet"


def open_words(kind: Kind, listed: bool, counts: Sequence[int]) -> str | None:
    """None where there is nothing to say. Without a complete listing (`listed`) counts are what was heard of so far."""
    if kind is Kind.INDEX:
        return "see its images"
    if listed:
        return _count_words(counts) if counts else None
    return f"{NOT_KNOWN}; heard of so far: {_count_words(counts)}" if any(counts) else NOT_KNOWN


def summary_words(counts: Sequence[int] | None) -> str:
    """`counts` None: never listed whole, or an index; a summary does not know which."""
    return "open findings not known, or those of its images" if counts is None else _count_words(counts)


def _count_words(counts: Sequence[int]) -> str:
    return ", ".join(f"{n} {s}" for s, n in zip(Severity, counts, strict=False) if n) or "none"
