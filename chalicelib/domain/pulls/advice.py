"""Failed pulls that Lazaretto has nothing to do with: what they mean, and what can be done about them. Pure.

Access that was denied is told with the role that pulls and what a pull needs; everything else by one sentence.
Sources: Amazon ECS developer guide, "CannotPullContainer task errors"; Amazon ECR user guide, identity-based policies.
"""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.domain.events.pull_failure import PullFailureCause, read_refusal, wanted_platform
from chalicelib.domain.images.image import Repository, partition
from chalicelib.domain.pulls.evidence import BY_REPOSITORY, Evidence

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
        bucket = f"arn:{partition(home.region)}:s3:::prod-{home.region}-starport-layer-bucket/*"
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
    had = [c.platform for c in header.children if c.platform and not c.artifact] if header is not None else []
    if header is not None and header.platform:
        had.append(header.platform)
    return f"The image has nothing for {wanted}" + (f"; it has {', '.join(sorted(had))}." if had else ".")


PLATFORM_ADVICE = "Build and push it for that platform too, or run it on one that it has (runtimePlatform)."


def _done(action: str | None) -> str:
    return f"do {action} on" if action else "pull from"


def _is_foreign(role: str, home: Repository) -> bool:
    account = role.split(":")[4] if role.count(":") >= 5 else ""
    return account != home.registry
