"""What must be so in the end, whatever went wrong in between; each promise that is broken says what differs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.alerts.verdict_alert import SUMMARY
from chalicelib.domain.images.verdict import Decision
from tests.chaos.ending import Ending, Facts
from tests.chaos.people import Told

HEARS = {"slack": Decision.WARN, "sns": Decision.BLOCK}
"""From which decision on a channel hears, by `people.POLICY`."""

REASONS = {
    "cut short": "$: no JSON",
    "nested too deep": "$: no JSON",
    "no digest": "$.detail.image-digest: missing",
    "no account": "$.account: an account id is 12 digits",
    "no object": "$: neither an event nor a message of ours: no object",
    "no message of ours": "$: neither an event nor a message of ours",
}
"""How the reason of each poison begins."""
KIND_OF = {"ARCHIVE": "QUARANTINE", "STANDARD": "RELEASE"}
WIDEST = 300


@dataclass(frozen=True)
class Broken:
    promise: str
    what: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.what[:WIDEST]}"


def broken(reference: Ending, ending: Ending) -> list[Broken]:
    """`reference`: the same scenario in order, once, without a fault."""
    found = {
        "settled": _unsettled(ending),
        "nothing half done": iter(ending.half_done),
        "nothing lost": _lost(ending),
        "nothing open is ever counted out": iter(ending.missed),
        "no act done twice": _doubled(ending),
        "acts as in the reference": _other_acts(reference, ending),
        "every act recorded once": _records(reference, ending),
        "alerts once, unless somebody died": _told_twice(ending),
        "everybody told": _untold(reference, ending),
        "told what was recorded, and recorded what was told": _unlike_records(ending),
        "only poison is dead, with its reason": _dead(ending),
        "verdicts as in the reference": _other_verdicts(reference, ending),
    }
    return [Broken(promise, what) for promise, each in found.items() for what in each]


def _unsettled(ending: Ending) -> Iterator[str]:
    yield from ending.unsettled


def _lost(ending: Ending) -> Iterator[str]:
    """Of what the source says nothing is missing, and nothing else is stored."""
    for path in sorted(ending.truth.keys() | ending.images.keys()):
        true, stored = ending.truth.get(path), ending.images.get(path)
        if true is None or stored is None:
            yield f"{path}: {'is stored, but gone' if true is None else 'is not stored'}"
            continue
        kept = {name: said[:4] for name, said in stored["findings"].items() if said[1] == "OPEN"}
        for name in sorted(true["findings"].keys() | kept.keys()):
            if true["findings"].get(name) != kept.get(name):
                yield f"{path}: {name[-12:]} is {true['findings'].get(name)}, stored as {kept.get(name)}"
        if true["tags"] != stored["tags"]:
            yield f"{path}: has the tags {true['tags']}, stored {stored['tags']}"
    for tag in sorted(ending.true_tags.keys() | ending.tags.keys()):
        if ending.true_tags.get(tag) != ending.tags.get(tag):
            yield f"{tag} is {ending.true_tags.get(tag)}, stored as {ending.tags.get(tag)}"


def _doubled(ending: Ending) -> Iterator[str]:
    """Who asks again for what is so already has lost the answer, or is the successor of one that died."""
    last: dict[str, Any] = {}
    for one in ending.asked:
        former = last.get(one.digest)
        if former is not None and former.target == one.target:
            excused = former.by is not None and (former.by.end in ("killed", "timed out") or former.by.hurt)
            if one.changed or not excused:
                yield f"{one.digest[:19]}: {one.target} again at {one.at:.0f}, after {former.at:.0f}"
        last[one.digest] = one


def _other_acts(reference: Ending, ending: Ending) -> Iterator[str]:
    for digest in sorted({one.digest for one in (*reference.asked, *ending.asked)}):
        if reference.acts(digest) != ending.acts(digest):
            yield f"{digest[:19]}: {ending.acts(digest)}, in the reference {reference.acts(digest)}"


def _records(reference: Ending, ending: Ending) -> Iterator[str]:
    for digest, kinds in sorted(ending.records.items()):
        done = Counter(KIND_OF[target] for target in ending.acts(digest))
        recorded = Counter({kind: n for kind, n in kinds.items() if kind in done or kind in KIND_OF.values()})
        if done != recorded:
            yield f"{digest[:19]}: done {dict(done)}, recorded {dict(recorded)}"
    for of in sorted(reference.subjects.keys() | ending.subjects.keys()):
        if reference.subjects[of] != ending.subjects[of]:
            yield f"{of[0]}: {ending.subjects[of]} records {of[1]}, in the reference {reference.subjects[of]}"
    yield from ending.broken_chains


def _told_twice(ending: Ending) -> Iterator[str]:
    """A repeat is excused by a worker that died, or whose call failed. Summaries are no image's: of waivers that are
    given at once two sweeps may begin, rather than none, and each tells what it found."""
    sent: dict[Any, list[Told]] = defaultdict(list)
    for told in ending.told:
        alert = told.alert
        if alert.ref is None:
            continue
        sent[told.channel, str(alert.ref), alert.number, alert.act, alert.title, alert.registry].append(told)
    for key, times in sent.items():
        if any(told.job.end == "done" and not told.job.hurt for told in times[:-1]):
            yield f"{key[0]}: {key[1]}, {key[4]!r}: told {len(times)} times"


def _untold(reference: Ending, ending: Ending) -> Iterator[str]:
    """Who was told of a verdict in the reference, of one that still stands, was told of it here. A policy that met no
    image yet, or none that its routes hear of, has no summary."""
    heard = _heard(ending)
    for channel, path, decision in sorted(_heard(reference)):
        stands = ending.images.get(path, {}).get("decision")
        if stands == decision and (channel, path, decision) not in heard:
            yield f"{channel} never heard that {path} is {decision}"
    quiet = {
        (name, SUMMARY) for name, least in HEARS.items() if not any(d.rank >= least.rank for d in ending.rolled_out)
    }
    for channel, event in sorted(_summaries(reference) - _summaries(ending) - quiet):
        yield f"{channel} never heard a summary of {event}"


def _unlike_records(ending: Ending) -> Iterator[str]:
    """By the records alone, whatever the reference says. Reports of acts have no number in what is told."""
    told = {(t.channel, t.alert.ref.path, t.alert.number) for t in ending.told if t.alert.ref and not t.alert.act}
    reports = Counter((t.channel, t.alert.ref.path) for t in ending.told if t.alert.ref and t.alert.act)
    recorded = {(channel, a.path, a.number) for a in ending.announced if not a.act for channel in a.channels}
    recorded_reports = Counter((channel, a.path) for a in ending.announced if a.act for channel in a.channels)
    for channel, path, number in sorted(recorded - told):
        yield f"{channel} was to hear of verdict {number} of {path}, and never did"
    for channel, path, number in sorted(told - recorded):
        yield f"{channel} heard of verdict {number} of {path}, and no record says so"
    for (channel, path), number in sorted((recorded_reports - reports).items()):
        yield f"{channel} never heard {number} reports of acts on {path}"
    for channel, path in sorted(reports.keys() - recorded_reports.keys()):
        yield f"{channel} heard of an act on {path}, and no record says so"


def _heard(ending: Ending) -> set[tuple[str, str, str]]:
    return {(told.channel, told.alert.ref.path, str(told.alert.decision)) for told in ending.told if told.alert.ref}


def _summaries(ending: Ending) -> set[tuple[str, str]]:
    return {(told.channel, told.alert.event) for told in ending.told if told.alert.ref is None}


def _dead(ending: Ending) -> Iterator[str]:
    for dead in ending.dead:
        if dead.poison is None:
            yield f"{dead.queue}: a message that is no poison ({dead.reason or 'it can be read'})"
        elif dead.reason is None or not dead.reason.startswith(REASONS[dead.poison]):
            yield f"{dead.queue}: {dead.poison}: {dead.reason or 'it can be read'}"
    missing = ending.poisoned - Counter(dead.poison for dead in ending.dead if dead.poison)
    yield from (f"{number} of {name!r} are not in a dead-letter queue" for name, number in missing.items())


def _other_verdicts(reference: Ending, ending: Ending) -> Iterator[str]:
    for path in sorted(reference.images.keys() | ending.images.keys()):
        theirs, ours = reference.images.get(path), ending.images.get(path)
        if theirs is None or ours is None:
            yield f"{path}: only {'here' if theirs is None else 'in the reference'}"
        elif theirs != ours:
            yield f"{path}: {_difference(theirs, ours)}"


def _difference(theirs: Facts, ours: Facts) -> str:
    told = (f"{name} {ours[name]}, in the reference {theirs[name]}" for name in theirs if theirs[name] != ours[name])
    return "; ".join(told)
