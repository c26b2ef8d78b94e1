"""What to do about a verdict, as lines for people; commands can be pasted. The rest is `verdict_alert.py`'s.

A command is only offered where it exists and every word of it is harmless in a shell: image names and ids are data.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import msgspec

from chalicelib.domain.alerts.top_finding import TopFinding
from chalicelib.domain.images.console import console_url
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision, Verdict
from chalicelib.domain.policy.waiver import BUILT_IN_RULES

_OPTIONS = ("--repository", "--cve", "--rule")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_/@-]{0,299}")


class Situation(msgspec.Struct, frozen=True):
    """The verdict that stands. `acted`: something was done to the image, or is to be.

    `exists` False: the image is gone. `suppressing_excuses`: the policy lets Inspector's suppressions excuse.
    """

    ref: ImageRef
    verdict: Verdict
    findings: Sequence[TopFinding] = ()
    acted: bool = False
    exists: bool = True
    suppressing_excuses: bool = False


def advise(situation: Situation) -> tuple[str, ...]:
    """Lines, the first thing to do first."""
    if situation.verdict.decision is Decision.ALLOW:
        return ("Nothing: what was told before no longer holds.",)
    rules = {r.rule for r in situation.verdict.reasons if r.decision is not Decision.ALLOW}
    lines = [*_scan(rules, situation.ref), *_upgrade(situation.findings), *_excuse(situation), *_doors(situation)]
    return tuple(dict.fromkeys(lines))


def _scan(rules: set[str], ref: ImageRef) -> Iterator[str]:
    if "unscanned" in rules and ref.home.public:
        yield "ECR Public scans nothing: push the same image to a private repository that is scanned."
    elif "unscanned" in rules:
        yield "No scan has come: see that a scanning rule covers the repository and that the image's type is supported."
    if "stale" in rules:
        yield "Have it scanned again: what is known of it is too old or no longer kept up to date."
    if "child" in rules:
        yield "Look at the images of this index: each has its own verdict."
    if "twin-gone" in rules:
        yield "Push the same image to its private repository again, where it is scanned, or delete it here."
    if "twin" in rules:
        yield "Look at the same digest in the private repository: there it is scanned, and there its findings are."


def _upgrade(findings: Sequence[TopFinding]) -> Iterator[str]:
    fixed = [f for f in findings if f.package and f.fixed_version]
    for finding in fixed:
        yield f"Upgrade {finding.package} to {finding.fixed_version} ({finding.id})."
    if fixed:
        yield "Then rebuild on a current base image and push: the scan of the new image decides anew."
    elif findings:
        yield f"No fixed version of {findings[0].package or findings[0].id} is known yet: replace it, or do without it."


def _excuse(situation: Situation) -> Iterator[str]:
    """The rule that decided is ours to name; a word of Lazaretto's own is no rule that could be waived or changed."""
    reason = next((r for r in situation.verdict.reasons if r.decision is situation.verdict.decision), None)
    if reason is None or reason.rule in BUILT_IN_RULES or not _WORD.fullmatch(reason.rule):
        return
    alone = reason.vulnerability_ids[0] if reason.count == len(reason.vulnerability_ids) == 1 else None
    about = ("--cve", alone) if alone else ("--rule", reason.rule)
    if (command := _command("waive", "--repository", situation.ref.repository, *about)) is not None:
        yield f"To accept it for a while: {command} --expires 30d --reason WHY --approved-by WHO"
    if reason.count and not situation.suppressing_excuses:
        yield "Suppressing it in Inspector does not excuse it here."


def _doors(situation: Situation) -> Iterator[str]:
    decision = situation.verdict.decision
    if decision is not Decision.WARN:
        yield "Until then the gates answer no to this image."
    if decision.closes_doors and situation.exists and situation.ref.home.public:
        yield f"Anybody may pull it from {console_url(situation.ref, None)}: nothing but deleting it there ends that."
    if situation.acted and decision.closes_doors and (command := _command("release", str(situation.ref))):
        yield f"To have it pulled all the same: {command} --reason WHY"
    if decision.closes_doors and (command := _command("image", str(situation.ref))):
        yield f"All about it: {command}"


def _command(*words: str) -> str | None:
    """None where a word is not what names and ids look like: nobody is to paste it."""
    harmless = all(word in _OPTIONS or _WORD.fullmatch(word) for word in words)
    return shlex.join(("lazaretto", *words)) if harmless else None
