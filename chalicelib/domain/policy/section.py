"""The sections of a policy, as typed values. How a policy is read and what follows from it is not said here."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.domain.channels.channel import ChannelName
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ACCOUNT, REGION, REPOSITORY, ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.condition import Match
from chalicelib.domain.policy.operand import ConditionPart, CountTest, Days, Glob, GlobList
from chalicelib.domain.policy.waiver import BUILT_IN_RULES

Minutes = Annotated[int, Meta(ge=1, le=525_600)]
PositiveDays = Annotated[int, Meta(ge=1, le=36_500)]
RULE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Not Meta(pattern=…): with msgspec 0.22 an interpreter that has used one may crash at exit (msgspec issue 717).
RuleId = Annotated[str, Meta(extra_json_schema={"pattern": f"^{RULE_ID.pattern}$"})]
RATED = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFORMATIONAL)

EventWord = Literal[
    "verdict",
    "tampering",
    "replication",
    "retention",
    "fuse",
    "waiver",
    "restore",
    "pull-failed",
    "posture",
    "summary",
    "unreachable",
]
EVENT_WORDS: tuple[EventWord, ...] = EventWord.__args__  # type: ignore[attr-defined]


class Unscanned(ConditionPart, frozen=True):
    """An image without a complete scan is PENDING; `after_minutes` after its push it is what `then` says."""

    after_minutes: Minutes = 60
    then: Literal["warn", "pending", "block"] = "pending"

    @property
    def decision(self) -> Decision:
        return Decision(self.then.upper())


class Stale(ConditionPart, frozen=True):
    """What ALLOW becomes when the scan lapsed, failed, or is `after_days` old. BLOCK and QUARANTINE stay."""

    word: Literal["allow", "warn", "pending", "block"] = msgspec.field(name="decision", default="warn")
    after_days: PositiveDays = 30

    @property
    def decision(self) -> Decision:
        return Decision(self.word.upper())


class Exempt(ConditionPart, frozen=True):
    """Repositories that are decided, recorded and alerted, and never acted on."""

    repository: Glob | Annotated[tuple[Glob, ...], Meta(max_length=200)] = ()


class WaiverLimits(ConditionPart, frozen=True):
    """How far in the future a waiver, or a person's release of an image, may end."""

    max_days: PositiveDays = 90


class SlaDays(ConditionPart, frozen=True):
    """Days a finding of a severity may stay open; a severity that is not given has no limit."""

    critical: PositiveDays | UnsetType = msgspec.field(name="CRITICAL", default=UNSET)
    high: PositiveDays | UnsetType = msgspec.field(name="HIGH", default=UNSET)
    medium: PositiveDays | UnsetType = msgspec.field(name="MEDIUM", default=UNSET)
    low: PositiveDays | UnsetType = msgspec.field(name="LOW", default=UNSET)
    informational: PositiveDays | UnsetType = msgspec.field(name="INFORMATIONAL", default=UNSET)

    @property
    def by_severity(self) -> dict[Severity, int]:
        return {Severity(name): days for name, days in self.given.items()}


class Quarantine(ConditionPart, frozen=True):
    """When an image is archived, which makes it impossible to pull: whether it may run, how many in an hour, and how
    long after people were told of it (0: at once; a person's order never waits)."""

    when_running: Literal["alert", "proceed"] = "alert"
    max_per_hour: Annotated[int, Meta(ge=1, le=1_000)] = 20
    grace_minutes: Annotated[int, Meta(ge=0, le=10_080)] = 0


class Release(ConditionPart, frozen=True):
    """How many images in an hour are given back because a verdict changed. What a person orders, or has seen counted in
    a plan, passes besides."""

    max_per_hour: Annotated[int, Meta(ge=1, le=1_000)] = 20


PlaceWord = Literal["app-runner", "sagemaker", "codebuild"]


QuietDays = Annotated[int, Meta(ge=0, le=365)]
GraceDays = Annotated[int, Meta(ge=0, le=90)]


class Doors(ConditionPart, frozen=True):
    """For how many days a cluster still starts Pods of an image that runs already, from the first moment at which its
    door would refuse it."""

    running_grace_days: GraceDays = 7


class UseLookup(ConditionPart, frozen=True):
    """Which places are asked besides about who runs an image, before it is taken away; and for how many days after the
    first closing verdict a pull that no look-up explains delays that."""

    quiet_days: QuietDays = 7
    places: Annotated[tuple[PlaceWord, ...], Meta(max_length=10)] = ()


class Rule(ConditionPart, frozen=True):
    """A sentence: images, or findings in images, that match get this decision. The strongest of all rules wins."""

    id: RuleId
    match: Match
    word: Literal["allow", "warn", "block", "quarantine"] = msgspec.field(name="decision")
    description: Annotated[str, Meta(max_length=500)] = ""
    count: CountTest | UnsetType = UNSET
    enforce: Literal["repository-policy"] | UnsetType = UNSET
    quiet_days: QuietDays | UnsetType = UNSET
    running_grace_days: GraceDays | UnsetType = UNSET

    def __post_init__(self) -> None:
        if not RULE_ID.fullmatch(self.id):
            raise ValueError("an id is 1 to 64 letters, digits, `.`, `_`, `-`, and begins with a letter or digit")
        if self.id in BUILT_IN_RULES:
            raise ValueError(f"id {self.id!r} is a word of Lazaretto's own; choose another")
        if self.enforce is not UNSET and not self.decision.closes_doors:
            raise ValueError("enforce needs the decision block or quarantine")
        if self.quiet_days is not UNSET and not self.decision.closes_doors:
            raise ValueError("quiet_days needs the decision block or quarantine")
        if self.running_grace_days is not UNSET and not self.decision.closes_doors:
            raise ValueError("running_grace_days needs the decision block or quarantine")

    @property
    def decision(self) -> Decision:
        return Decision(self.word.upper())


class Keep(ConditionPart, frozen=True):
    """An image is kept while any of these holds."""

    newest: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET
    pulled_within_days: Days | UnsetType = UNSET
    pushed_within_days: Days | UnsetType = UNSET
    tag: Glob | GlobList | UnsetType = UNSET
    newest_per_minor: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if not self.given:
            raise ValueError("keeps nothing; say at least `newest: 1`")


class Retention(ConditionPart, frozen=True):
    """What is expired (or archived) in some repositories; never more than `max_share` of a repository's images, nor
    more than `max_images`, at once."""

    repository: Glob | GlobList
    keep: Keep
    untagged_after_days: Days | UnsetType = UNSET
    action: Literal["expire", "archive"] = "expire"
    max_share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    max_images: Annotated[int, Meta(ge=1, le=100_000)] = 1_000


class Scanning(ConditionPart, frozen=True):
    """Under basic scanning: when an image is sent to be scanned again, and how many are within 24 hours (0: none).

    ECR takes 100,000 a day of a registry and Region, those on push included.
    """

    rescan_after_days: PositiveDays = 7
    daily_budget: Annotated[int, Meta(ge=0, le=100_000)] = 1_000


class ExpectedCopies(ConditionPart, frozen=True):
    """What a destination (its Region, and its account where several are copied to) has fewer of than the source: the
    `keep` newest images of a repository alone, or what a lifecycle policy of its own leaves."""

    region: Annotated[str, Meta(extra_json_schema={"pattern": f"^{REGION.pattern}$"})]
    registry: Annotated[str, Meta(extra_json_schema={"pattern": f"^{ACCOUNT.pattern}$"})] | UnsetType = UNSET
    repository: Glob | GlobList = ("*",)
    keep: Annotated[int, Meta(ge=1, le=100_000)] | UnsetType = UNSET
    lifecycle: Literal["differs"] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if not REGION.fullmatch(self.region):
            raise ValueError(f"region {self.region!r} is no Region of AWS")
        if self.registry is not UNSET and not ACCOUNT.fullmatch(self.registry):
            raise ValueError("registry is an account of 12 digits")
        if self.keep is UNSET and self.lifecycle is UNSET:
            raise ValueError("expects no less than replication brings; say `keep: 10` or `lifecycle: differs`")


RepositoryName = Annotated[str, Meta(min_length=1, max_length=256)]
Account = Annotated[str, Meta(extra_json_schema={"pattern": f"^{ACCOUNT.pattern}$"})]


class Publication(ConditionPart, frozen=True):
    """From which private repositories, by their names, one public repository is published. `registry`: the account that
    they are in; without it, the one that the public registry belongs to."""

    public: RepositoryName
    sources: Annotated[tuple[RepositoryName, ...], Meta(min_length=1, max_length=100)] = msgspec.field(name="from")
    registry: Account | UnsetType = UNSET

    def is_from(self, image: ImageRef) -> bool:
        """Whether a private image lies where the public repository is published from. No image does while the
        account is UNSET: a push to any account that is watched would have a say."""
        return image.repository in self.sources and self.registry == image.registry

    def __post_init__(self) -> None:
        if self.registry is not UNSET and not ACCOUNT.fullmatch(self.registry):
            raise ValueError("registry is an account of 12 digits")
        for name in (self.public, *self.sources):
            if not REPOSITORY.fullmatch(name):
                raise ValueError(f"`{name}` is no name of a repository: no registry, no tag and no glob belongs here")


class Replication(ConditionPart, frozen=True):
    """How soon a copy must be there, what of it is compared, and which destinations have fewer images."""

    within_minutes: Minutes = 30
    check: Annotated[tuple[Literal["digest", "tags", "verdict"], ...], Meta(min_length=1)] = (
        "digest",
        "tags",
        "verdict",
    )
    destinations: Annotated[tuple[ExpectedCopies, ...], Meta(max_length=100)] = ()


class Alerts(ConditionPart, frozen=True):
    """How many alerts a channel gets within an hour; more become one summary."""

    max_per_hour: Annotated[int, Meta(ge=1, le=10_000)] = 120


class Route(ConditionPart, frozen=True):
    """Who is told of what: verdicts from `min_decision` on, in these repositories, and these events."""

    channel: ChannelName
    word: Literal["allow", "warn", "pending", "block", "quarantine"] = msgspec.field(
        name="min_decision", default="warn"
    )
    repository: Glob | GlobList = ("*",)
    events: Annotated[tuple[EventWord, ...], Meta(min_length=1)] = EVENT_WORDS

    @property
    def min_decision(self) -> Decision:
        return Decision(self.word.upper())
