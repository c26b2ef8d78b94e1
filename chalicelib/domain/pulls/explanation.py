"""Why an image could not be pulled, in sentences for people, and what to do: the same words everywhere.

Sources: Amazon ECS developer guide, "CannotPullContainer task errors"; Amazon ECR user guide, identity-based policies.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime

import msgspec

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.enforcement.past_quarantine import ended_words, stood_words
from chalicelib.domain.events.pull_failure import PullFailureCause, read_refusal, wanted_platform
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Stage
from chalicelib.domain.images.image import ImageRef, Kind, Repository, StorageStatus, partition, restore_command
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.pulls.evidence import BY_REPOSITORY, Evidence, LostTag

TOKEN = "ecr:GetAuthorizationToken"  # noqa: S105 - the name of a permission
IMAGE_ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
PULL_ONLY = "AmazonEC2ContainerRegistryPullOnly"
_NO_ROLE = "the role that pulls (which one could not be told)"
_WHICH = (
    "ECS pulls with the task's execution role, else with the role of the container instance; EKS with the node's role, "
    "on Fargate with the pod execution role."
)
PLAIN: dict[PullFailureCause, tuple[str, str]] = {
    PullFailureCause.THROTTLED: (
        "The registry asked for patience: there were too many pulls at once.",
        "Nothing, if it ends by itself; else start fewer tasks at a time, or have the quota raised.",
    ),
    PullFailureCause.UNREACHABLE: (
        "The registry could not be reached from where it was pulled.",
        "Look at the network there: route, NAT gateway or VPC endpoints (ecr.api, ecr.dkr, s3), security groups, DNS.",
    ),
    PullFailureCause.NO_SPACE: (
        "There was no room left on the disk it was pulled to.",
        "Free some, or give the task (ephemeralStorage) or its instance more.",
    ),
    PullFailureCause.DAMAGED: (
        "What arrived was not what the image's manifest promises.",
        "Pull it elsewhere: if it fails there too, build and push it again.",
    ),
    PullFailureCause.BAD_NAME: (
        "The image's name is none that can be pulled.",
        "Correct it in the task definition or the manifest: HOST/REPOSITORY:TAG or HOST/REPOSITORY@sha256:DIGEST.",
    ),
    PullFailureCause.UPSTREAM: (
        "The pull-through cache of ECR could not get it from its upstream registry.",
        "Look at the cache rule's credentials in Secrets Manager, and at the upstream registry.",
    ),
    PullFailureCause.REGISTRY_ERROR: (
        "The registry itself failed.",
        "Nothing, if it ends by itself; else see the AWS Health Dashboard.",
    ),
    PullFailureCause.NO_SECRET: (
        "The task's secrets could not be fetched; its image was not asked for yet.",
        "Let the task's execution role read them, and see that Secrets Manager and Systems Manager can be reached.",
    ),
    PullFailureCause.UNKNOWN: ("Why it could not be pulled is not known here.", "See what was said, below."),
}


def access_words(evidence: Evidence) -> str:
    """What was refused to whom, and by which policy."""
    refusal, home = read_refusal(evidence.failed.said), evidence.failed.pulled.home
    who = refusal.role or evidence.role or _NO_ROLE
    if refusal.layers:
        return f"Amazon S3 refused {who} a layer of the image; ECR itself did not refuse the pull."
    if evidence.failed.cause is PullFailureCause.NOT_SIGNED_IN:
        return f"The registry was asked without valid credentials: {who} got none, or they had expired."
    words = [f"Access was denied: {who} may not {_done(refusal.action)} {home.arn}."]
    if refusal.deny:
        own = "; it is none of ours" if refusal.deny == BY_REPOSITORY else ""
        words.append(f"A Deny in a {refusal.deny} says so{own}.")
    if refusal.wanting:
        words.append(f"No {refusal.wanting} allows it.")
    return " ".join(words)


def access_advice(evidence: Evidence) -> Iterator[str]:
    refusal, home = read_refusal(evidence.failed.said), evidence.failed.pulled.home
    role = refusal.role or evidence.role
    who = role or "the role that pulls"
    if refusal.layers:
        bucket = f"arn:{partition(home.region).name}:s3:::prod-{home.region}-starport-layer-bucket/*"
        yield f"Let the policy of the VPC's S3 endpoint allow s3:GetObject on {bucket}."
        return
    yield f"Allow {who}: {TOKEN} on *, and {' and '.join(IMAGE_ACTIONS)} on {home.arn} (or attach {PULL_ONLY})."
    if role is None:
        yield _WHICH
    if refusal.deny:
        yield f"Take the Deny out of the {refusal.deny}: no Allow outweighs it."
    if role is not None and _is_foreign(role, home):
        yield f"The repository's policy must allow it as well: the registry belongs to account {home.registry}."


def platform_words(evidence: Evidence) -> str:
    wanted = wanted_platform(evidence.failed.said) or "the platform it was pulled for"
    header = evidence.header
    platforms = [child.platform or "" for child in header.children] if header is not None else []
    had = [platform for platform in platforms if platform and not platform.startswith("unknown/")]
    if header is not None and header.platform:
        had.append(header.platform)
    return f"The image has nothing for {wanted}" + (f"; it has {', '.join(sorted(had))}." if had else ".")


PLATFORM_ADVICE = "Build and push it for that platform too, or run it on one that it has (runtimePlatform)."


def _done(action: str | None) -> str:
    return f"do {action} on" if action else "pull from"


def _is_foreign(role: str, home: Repository) -> bool:
    account = role.split(":")[4] if role.count(":") >= 5 else ""
    return account != home.registry


MOST_NAMED = 5
MAX_REASON = 300
_THERE = "The image is in the registry, and not archived."
RESTORED_WITHIN = "ECR takes up to 20 minutes to restore it"


class Explanation(msgspec.Struct, frozen=True):
    """`ref`: the image it is about, where one is known. `notes` are further sentences, `what_to_do` lines for people;
    the commands in them can be pasted into a shell. `action_ids`: of our acts that are behind it."""

    cause: PullFailureCause
    text: str
    notes: tuple[str, ...] = ()
    what_to_do: tuple[str, ...] = ()
    action_ids: tuple[str, ...] = ()
    ref: ImageRef | None = None


def explain(evidence: Evidence) -> Explanation:
    cause = evidence.cause
    text, what_to_do = _words(cause, evidence)
    ref = evidence.header.ref if evidence.header is not None else None
    ids = evidence.action_ids if cause.ours else ()
    return Explanation(cause, text, tuple(_besides(cause, evidence)), tuple(what_to_do), ids, ref)


def _words(cause: PullFailureCause, evidence: Evidence) -> tuple[str, Iterator[str] | tuple[str, ...]]:
    match cause:
        case PullFailureCause.QUARANTINE:
            return _quarantine(evidence)
        case PullFailureCause.DENY:
            return _deny(evidence), _deny_advice(evidence)
        case PullFailureCause.ARCHIVED:
            return _archived(evidence)
        case PullFailureCause.RESTORING:
            return _restoring(evidence), (f"Wait: {RESTORED_WITHIN}; the service then starts by itself.",)
        case PullFailureCause.NOT_FOUND | PullFailureCause.NO_REPOSITORY:
            return _not_found(cause, evidence), (_not_found_advice(evidence),)
        case PullFailureCause.ACCESS_DENIED | PullFailureCause.NOT_SIGNED_IN:
            return access_words(evidence), access_advice(evidence)
        case PullFailureCause.WRONG_PLATFORM:
            return platform_words(evidence), (PLATFORM_ADVICE,)
    text, advice = PLAIN[cause]
    return text, (advice,)


# ---- ours


def _quarantine(evidence: Evidence) -> tuple[str, tuple[str, ...]]:
    header = evidence.quarantined
    if header is None:
        past = evidence.stood
        assert past is not None
        return stood_words(past, _which_of(past.ref, evidence)), (_not_found_advice(evidence),)
    return (
        f"Lazaretto keeps {_which(header, evidence)} from being pulled: {_act(header, evidence)}, {_why(header)}.",
        (
            f"Deploy another image. All about this one: {_command('image', str(header.ref))}",
            f"To have it pulled all the same: {_command('release', str(header.ref))} --reason WHY ({RESTORED_WITHIN})",
        ),
    )


def _which_of(ref: ImageRef, evidence: Evidence) -> str:
    return next(_which(header, evidence) for header in evidence.headers if header.ref == ref)


def _which(header: Header, evidence: Evidence) -> str:
    if header is evidence.header:
        return "it"
    index = evidence.header
    platforms = {c.digest: c.platform for c in index.children} if index is not None else {}
    platform = header.platform or platforms.get(header.ref.digest)
    return f"its image{f' for {platform}' if platform else ''} ({header.ref.digest[:19]})"


def _act(header: Header, evidence: Evidence) -> str:
    """The act by its key, and by its id in the audit log where it is recorded already."""
    named = f" (action {evidence.action_ids[0]})" if evidence.action_ids else ""
    hold, done = header.hold, header.enforcement
    if header.begun is ActionType.QUARANTINE and done is not None:
        return f"{done.key}{named} was begun at {_time(done.at)} and is not confirmed yet"
    assert hold is not None
    return f"{ActionType.QUARANTINE}#{hold.number}{named} archived it at {_time(hold.at)}"


def _why(header: Header) -> str:
    if header.order is not None and header.order.kind is ActionType.QUARANTINE:
        return f"ordered by {sanitize(header.order.by, 100)}: {sanitize(header.order.reason, MAX_REASON)}"
    if header.verdict is None or not header.verdict.reasons:
        return "for a reason that is in its audit log"
    first = header.verdict.reasons[0]
    return f"by the rule {sanitize(first.rule, 100)}: {sanitize(first.detail, MAX_REASON)}"


def _deny(evidence: Evidence) -> str:
    denied, pulled = evidence.denied, evidence.failed.pulled
    named = ", ".join(ref.digest[:19] for ref in denied[:MOST_NAMED])
    rest = len(denied) - MOST_NAMED
    more = f" and {rest} more" if rest > 0 else ""
    actions = f" (action {', '.join(evidence.action_ids)})" if evidence.action_ids else ""
    asked = pulled.digest or (evidence.header.ref.digest if evidence.header is not None else None)
    own = asked is None or asked in {ref.digest for ref in denied}
    other = "" if own else " The image that was asked for is not one of them."
    return (
        f"Lazaretto denies all pulls from {pulled.home.name} by the repository's policy, because of {named}{more}"
        f"{actions}: ECR cannot deny a single image.{other}"
    )


def _deny_advice(evidence: Evidence) -> Iterator[str]:
    for ref in evidence.denied[:MOST_NAMED]:
        yield f"To have {ref.digest[:19]} pulled all the same: {_command('release', str(ref))} --reason WHY"
    if len(evidence.denied) > 1:
        yield f"Pulls are allowed again when none of the {len(evidence.denied)} is blocked any more."


# ---- the registry's


def _archived(evidence: Evidence) -> tuple[str, tuple[str, ...]]:
    record, other = evidence.retained, "Or deploy an image that is not archived."
    if record is not None and evidence.is_retained:
        release = f"{_command('release', str(record.ref))} --reason WHY"
        return (
            f"Retention archived it at {_time(record.at)} (action {action_id(record)}): "
            f"{sanitize(record.reason, MAX_REASON)}.",
            (f"Restore it: {release} ({RESTORED_WITHIN})", other),
        )
    ref, who = _archived_ref(evidence), "a lifecycle rule or a person did it"
    if record is not None and record.ref is not None:
        ref, who = record.ref, f"{sanitize(record.reason, MAX_REASON)}, at {_time(record.wanted_at)}"
    text = f"It is archived in ECR, and no quarantine of Lazaretto's is behind that: {who}."
    return text, (f"Restore it: {restore_command(ref)} ({RESTORED_WITHIN})", other)


def _archived_ref(evidence: Evidence) -> ImageRef:
    if evidence.look is not None and evidence.look.detail is not None:
        return evidence.look.detail.ref
    return next(h.ref for h in evidence.headers if h.exists and h.storage is StorageStatus.ARCHIVED)


def _restoring(evidence: Evidence) -> str:
    found = [h for h in evidence.headers if h.storage is StorageStatus.ACTIVATING]
    done = next((h.enforcement for h in [*found, *evidence.headers] if h.enforcement is not None), None)
    ours = done is not None and done.kind is ActionType.RELEASE and done.stage is not Stage.FAILED
    asked = f": Lazaretto released it at {_time(done.at)} ({done.key})" if ours and done is not None else ""
    return f"ECR is restoring it from the archive{asked}; until then it cannot be pulled."


def _not_found(cause: PullFailureCause, evidence: Evidence) -> str:
    pulled, header, look = evidence.failed.pulled, evidence.header, evidence.look
    home, name = pulled.home, pulled.short
    if cause is PullFailureCause.NO_REPOSITORY:
        return f"There is no repository {home.name} in the registry {home.registry} in {home.region}."
    if evidence.lost_tag is not None:
        return _lost(evidence.lost_tag, pulled.tag or "")
    if header is not None and not header.exists:
        since = f" at {_time(header.existence_at)}" if header.existence_at is not None else ""
        return f"The image was deleted{since}; no quarantine of Lazaretto's is behind that."
    if look is None:
        return f"The registry did not find it. What is said names only {name}, so that it could not be looked up."
    if look.failed is not None:
        why = sanitize(look.failed, MAX_REASON)
        return f"The registry did not find it. Whether it is there now could not be looked up: {why}."
    if look.detail is not None:
        is_index = header is not None and header.kind is Kind.INDEX
        then = "whether the images of this index are was not asked" if is_index else "it can be pulled"
        return f"The registry did not find it then. It is there now{_since(evidence)}: {then}."
    if header is not None:
        return f"The registry does not have {name} any more, although no event has told that it was deleted."
    return f"The registry does not have {name}, and it was never heard of here: are name, tag and Region right?"


def _not_found_advice(evidence: Evidence) -> str:
    if evidence.look is not None and evidence.look.detail is not None:
        return "Start it again; a service of ECS does so by itself."
    return "Push it again, or deploy an image that is there."


def _lost(tag: LostTag, name: str) -> str:
    pointed = f"; before, it pointed at {tag.former.digest[:19]}" if tag.former is not None else ""
    return f"The tag {name} was deleted at {_time(tag.at)}, and no quarantine of Lazaretto's is behind that{pointed}."


def _since(evidence: Evidence) -> str:
    """The last thing that made it pullable, where that was after the failure."""
    detail = evidence.look.detail if evidence.look is not None else None
    times = (("pushed", detail.pushed_at), ("restored", detail.activated_at)) if detail is not None else ()
    after = [(at, word) for word, at in times if at is not None and at > evidence.failed.at]
    return f", {max(after)[1]} at {_time(max(after)[0])}" if after else ""


# ---- besides


def _besides(cause: PullFailureCause, evidence: Evidence) -> Iterator[str]:
    header, look = evidence.header, evidence.look
    held = next((h for h in evidence.headers if h.hold is not None), None)
    if held is not None and held.hold is not None and not cause.ours and cause is not PullFailureCause.RESTORING:
        release = f"{_command('release', str(held.ref))} --reason WHY"
        yield f"Besides, Lazaretto has {_which(held, evidence)} in quarantine (by {held.hold.method}): {release}"
    if evidence.past is not None and not cause.ours:
        yield ended_words(evidence.past, _which_of(evidence.past.ref, evidence))
    if cause is not PullFailureCause.DENY and evidence.denied:
        yield f"Besides, Lazaretto denies all pulls from {evidence.failed.pulled.home.name} by the repository's policy."
    by_another = cause is PullFailureCause.ARCHIVED and not evidence.is_retained
    if by_another and header is not None and header.decision is Decision.QUARANTINE:
        yield "Its verdict is QUARANTINE: restored, it would be taken away again."
    if header is not None and header.kind is Kind.ARTIFACT:
        yield "It is no image: a signature, an attestation or another artifact."
    if cause is PullFailureCause.UNKNOWN and look is not None:
        yield (
            f"Whether it is there could not be looked up: {sanitize(look.failed, MAX_REASON)}."
            if look.failed
            else _THERE
        )


def _command(*words: str) -> str:
    return shlex.join(("lazaretto", *words))


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
