"""Evaluate one shard of the images for a what-if, page by page: what is found is stored with where to go on.

All that the decision about an image depends on is read as stored; nothing is looked up and no image is written. The
images of a shard are taken in the order of their paths, never in that of their verdicts, which may change meanwhile: so
each is counted once. A page is stored on condition that no other worker stored one; the worker that lost leaves it to
the other. So a message delivered twice, or again after a crash, does no harm.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import timedelta

import msgspec

from chalicelib.domain.assessment.conclusion import asks_exploited
from chalicelib.domain.assessment.merge import learn
from chalicelib.domain.events.message import WhatIf
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import ImageRef, Kind, Source
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.whatif.due_acts import NO_ACTS, DueActs, due_acts, hangs_on_indexes, is_acted_on
from chalicelib.domain.whatif.report import (
    ROWS_OF_PART,
    UNREADABLE_NAMED,
    Job,
    ShardPart,
    Tally,
    WhatIfRow,
    added,
    row_of,
    tally_of,
    worst_rows,
)
from chalicelib.domain.whatif.what_if import Film, Question, Weighed, WhatIfCase, moments_of, weigh
from chalicelib.errors import ConflictError, LazarettoError, TransientError
from chalicelib.services.assessment.requeue import requeue
from chalicelib.services.assessment.write_header import as_scanned, indexes_of, members_of
from chalicelib.services.ports.answers import header_of
from chalicelib.services.ports.context import Context


def gather_case(
    header: Header, question: Question, context: Context, known: dict[ImageRef, WhatIfCase | None] | None = None
) -> WhatIfCase:
    """The image with its findings, the indexes that hold it and, of an index, its images. `known`: what is gathered
    already, each image once; None in it: an index that is being gathered, and holds itself."""
    known = {} if known is None else known
    known[header.ref] = None
    document = FindingsDocument(header.ref)
    if header.kind is Kind.IMAGE and header.revision:
        document = _with_known_kev(header, context.table.read_document(header.ref), question, context)
    members = members_of(header, context)
    for member in members:
        if member is not None and member.ref not in known:
            gather_case(member, question, context, known)
    inside = tuple(None if member is None else known[member.ref] for member in members)
    case = WhatIfCase(as_scanned(header, members), document, tuple(indexes_of(header, context)), inside)
    known[header.ref] = case
    return case


def _with_known_kev(
    header: Header, document: FindingsDocument, question: Question, context: Context
) -> FindingsDocument:
    """With what other images' findings have taught of the same flaws: applying a policy would take it over too."""
    now, policies = question.moments[-1], (question.today, question.candidate)
    asks = [asks_exploited(header, Rules(policy, question.waivers), now) for policy in policies]
    enhanced = (f for f in document.findings if f.open and f.source is Source.ENHANCED)
    asked = [f for f in enhanced if any(one(f) for one in asks)]
    known = context.table.read_kev({f.vulnerability_id for f in asked}) if asked else {}
    facts = {f.source_finding_id: known[f.vulnerability_id][0] for f in asked if f.vulnerability_id in known}
    return learn(document, {i: fact for i, fact in facts.items() if fact is not None}, now).document


PAGE_IMAGES = 500
HEADERS_AT_ONCE = 50
BUDGET = timedelta(seconds=20)
"""Of one message: ten of them, one after the other, must end within the function's time-out."""


def evaluate_shard(message: WhatIf, context: Context) -> None:
    """Goes on where the stored part ends; nothing is done for a job that ended or was never asked.

    What only needs time is put back; what cannot be judged is counted and named. Raises what else goes wrong.
    """
    job = context.what_ifs.read_job(message.job)
    part = context.what_ifs.read_part(job, message.shard) if job is not None else None
    if job is None or part is None or part.done:
        return
    page, why = _Page(job, part, context), None
    try:
        page.run()
    except TransientError as error:
        why = error
    try:
        kept = context.what_ifs.put_part(job, page.part()) if page.moved else part
    except ConflictError:
        return
    if why is not None:
        attempt = 1 if page.moved else message.attempt + 1
        if not requeue("sweeps", WhatIf(job.id, part.shard, kept.after, attempt=attempt), why, context):
            raise why
    elif not kept.done:
        context.outbox.send("sweeps", WhatIf(job.id, part.shard, kept.after))


class _Page:
    """The next images of a shard, and what is found of them. `moved`: there is something new to keep."""

    def __init__(self, job: Job, former: ShardPart, context: Context) -> None:
        self.former, self.context = former, context
        self.after, self.size, self.done, self.moved = former.after, former.size, False, False
        self.tally, self.rows, self.left_out = former.tally, list(former.rows), former.rows_left_out
        self.unreadable = list(former.unreadable)
        self.until = context.clock.now() + BUDGET
        rules = context.rules.fresh()
        self.question = Question(
            today=parse_policy(job.today, job.today_version),
            candidate=parse_policy(job.candidate),
            waivers=rules.waivers,
            moments=moments_of(job.at, job.since_days),
            known_since=job.known_since,
            account=rules.account,
        )

    def run(self) -> None:
        """As many images as time allows, at least one."""
        refs = self._next_refs()
        for ref, header in self._headers(refs):
            self._weigh(ref, header)
            self.after, self.moved = ref.path, True
            if self.context.clock.now() >= self.until:
                return
        self.done = len(refs) < PAGE_IMAGES
        self.moved = self.moved or self.done

    def part(self) -> ShardPart:
        kept = worst_rows(self.rows, ROWS_OF_PART)
        return msgspec.structs.replace(
            self.former,
            after=self.after,
            done=self.done,
            size=self.size,
            tally=self.tally,
            rows=kept,
            rows_left_out=self.left_out + len(self.rows) - len(kept),
            unreadable=tuple(self.unreadable),
        )

    def _next_refs(self) -> list[ImageRef]:
        """The whole shard is walked for it, and only one page of it held."""
        self.size = 0
        return heapq.nsmallest(PAGE_IMAGES, self._left(), key=lambda ref: ref.path)

    def _left(self) -> Iterator[ImageRef]:
        for row in self.context.queries.rows_of(self.former.shard):
            self.size = (self.size or 0) + 1
            if self.after is None or row.ref.path > self.after:
                yield row.ref

    def _headers(self, refs: Sequence[ImageRef]) -> Iterator[tuple[ImageRef, Header | None]]:
        for start in range(0, len(refs), HEADERS_AT_ONCE):
            some = refs[start : start + HEADERS_AT_ONCE]
            try:
                found = self.context.table.read_headers(some)
            except LazarettoError:
                raise
            except Exception:  # noqa: BLE001 - one header that cannot be read: it is met again, alone, by its own image
                yield from ((ref, None) for ref in some)
                continue
            yield from ((ref, found[ref].header if ref in found else None) for ref in some)

    def _weigh(self, ref: ImageRef, header: Header | None) -> None:
        try:
            header = header or header_of(ref, self.context.table)
            if header is None or not header.present or header.kind is Kind.ARTIFACT:
                return
            film = Film(gather_case(header, self.question, self.context), self.question)
            weighed = weigh(film)
            acts = self._due_acts(film, weighed)
        except LazarettoError:
            raise
        except Exception:  # noqa: BLE001 - one image that cannot be judged is counted and named; the others go on
            self._count(Tally(unreadable=1))
            self.unreadable = [*self.unreadable, ref][:UNREADABLE_NAMED]
            return
        self._count(tally_of(header, weighed, acts))
        self._keep(row_of(header, weighed, acts))

    def _due_acts(self, film: Film, weighed: Weighed) -> DueActs:
        case = film.case
        if not is_acted_on(case.header, weighed):
            return NO_ACTS
        there = [index for index in case.indexes if index.exists] if hangs_on_indexes(weighed) else []
        known: dict[ImageRef, WhatIfCase | None] = {case.header.ref: case}
        return due_acts(film, [gather_case(index, self.question, self.context, known) for index in there])

    def _count(self, tally: Tally) -> None:
        self.tally = added((self.tally, tally))

    def _keep(self, row: WhatIfRow | None) -> None:
        if row is not None:
            self.rows.append(row)
        if len(self.rows) > 2 * ROWS_OF_PART:
            kept = worst_rows(self.rows, ROWS_OF_PART)
            self.left_out += len(self.rows) - len(kept)
            self.rows = list(kept)
