"""Who runs an image: every place that can pull is asked, and the answers are put together (`AwsRuntime`).

NO is said only when nothing runs the image *and* no place was left out; what could not be asked is a sentence, and
makes it UNKNOWN. Asked are ECS, EventBridge, Lambda and EKS (through Inspector) of the registry's account, in the
image's Region and in those its repository is copied to. A workload that runs a copy runs the image: a copy may go with
it (replication of deletions), and a person who asks who runs a digest means both.

Policies and replication may let in other accounts and Regions (DescribeRegistry and GetRegistryPolicy for a Region,
GetRepositoryPolicy for a repository). What another account runs cannot be known here: each one that is let in is a
sentence. Our own account in another Region is asked like the image's Region.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import sleep
from typing import Any

import msgspec

from chalicelib.adapters.aws.calls import aws_call
from chalicelib.adapters.inspector.inspector import Inspector
from chalicelib.adapters.usage.asking import Asker, CachedPlace, PlaceAnswer, Use, each, why
from chalicelib.adapters.usage.ecs_task import find_pull_role
from chalicelib.adapters.usage.ecs_use import EcsUse
from chalicelib.adapters.usage.eks_use import EksUse
from chalicelib.adapters.usage.lambda_use import LambdaUse
from chalicelib.adapters.usage.schedule_use import ScheduleUse
from chalicelib.domain.images.image import InUse, InUseState, Repository
from chalicelib.domain.images.names import ImageName
from chalicelib.domain.usage.blast_radius import let_in
from chalicelib.errors import LazarettoError
from chalicelib.parsers.images import settings_answers as said
from chalicelib.parsers.usage import use_answers as wire
from chalicelib.services.ports.registry import Subject

_NO_REGISTRY_POLICY = frozenset({"RegistryPolicyNotFoundException"})
_NO_REPOSITORY_POLICY = frozenset({"RepositoryPolicyNotFoundException", "RepositoryNotFoundException"})


class RegistryReach(PlaceAnswer):
    """What holds for all repositories of a registry in one Region. `policy` None: there is none."""

    rules: list[said.CopyRule] = []
    policy: str | None = None

    def regions(self, home: Repository) -> list[str]:
        """The other Regions of its own account that images of the repository are copied to."""
        return sorted({one.region for one in self._destinations(home) if one.registry_id == home.registry})

    def sentences(self, home: Repository) -> list[str]:
        others = sorted(
            {(one.registry_id, one.region) for one in self._destinations(home) if one.registry_id != home.registry}
        )
        copied = [f"account {a} in {r} gets copies by replication, and cannot be looked at" for a, r in others]
        return copied + (_let_in(self.policy, home, "registry") if self.policy else [])

    def _destinations(self, home: Repository) -> list[said.CopyDestination]:
        """A rule without filters is about every repository."""
        return [
            destination
            for rule in self.rules
            if not rule.repository_filters or any(home.name.startswith(f.filter) for f in rule.repository_filters)
            for destination in rule.destinations
        ]


def look_at_registry(ecr: Any, asker: Asker) -> RegistryReach:
    looked = RegistryReach()
    with looked.at("the replication rules of the registry"):
        looked.rules = asker.ask(ecr, "describe_registry", said.RegistryAnswer).replication_configuration.rules
    with looked.at("the policy of the registry", _NO_REGISTRY_POLICY):
        looked.policy = asker.ask(ecr, "get_registry_policy", wire.PolicyTextAnswer).policy_text
    return looked


def look_at_repository(ecr: Any, asker: Asker, home: Repository) -> PlaceAnswer:
    looked = PlaceAnswer()
    with looked.at("the policy of the repository", _NO_REPOSITORY_POLICY):
        which = {"registryId": home.registry, "repositoryName": home.name}
        answer = asker.ask(ecr, "get_repository_policy", wire.PolicyTextAnswer, **which)
        looked.blind += _let_in(answer.policy_text, home, "repository")
    return looked


def _let_in(policy: str, home: Repository, whose: str) -> list[str]:
    try:
        others = let_in(policy, home.arn, home.registry)
    except ValueError:
        return [f"whom the policy of the {whose} lets in cannot be told: it cannot be read"]
    return [f"{who} may pull by the policy of the {whose}, and cannot be looked at" for who in others]


SERVICES = ("ecs", "events", "scheduler", "lambda", "eks", "inspector2")
SENTENCES = 10
NOTES = 3
PATIENCE = timedelta(seconds=12)
"""How long one look may take, and the one call that hangs at its end beside it: the API has 28 seconds for all it
does. What is remembered of a look lets the next one get further."""
CALLS_AT_ONCE = 8
PLACES_AT_ONCE = 5
PUBLIC = "anyone may pull a public image, from anywhere"


class AwsRuntime:
    """`client_of` gives the client of a service in an account and a Region, and raises DeniedError where nothing lets
    us look at the account. Safe to share between threads as far as its clients are.

    What was looked at is kept for a minute in this process; images of one registry share it. Places are looked at at
    once, `calls_at_once` calls together; 1: one place after the other, one call after the other.
    """

    def __init__(
        self,
        client_of: Callable[[str, str, str], Any],
        now: Callable[[], datetime],
        patience: timedelta = PATIENCE,
        calls_at_once: int = CALLS_AT_ONCE,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._make, self._now, self._patience, self._pause = client_of, now, patience, pause
        alone = calls_at_once == 1
        self._calls = None if alone else ThreadPoolExecutor(calls_at_once, "calls")
        self._places = None if alone else ThreadPoolExecutor(PLACES_AT_ONCE, "places")
        self._kept = CachedPlace(now)
        self._ecs, self._lambda = EcsUse(), LambdaUse()
        self._schedules = ScheduleUse(self._ecs)
        self._eks = EksUse(Inspector(lambda account, region: self._client_of("inspector2", account, region)), now)

    def in_use(self, subject: Subject) -> InUse:
        """Never raises for a place that fails: it is `blind` then."""
        at, home = self._now(), subject.ref.home
        if home.public:
            return _told([], [PUBLIC], at)
        if (stranger := self._stranger(home)) is not None:
            return _told([], [stranger], at)
        asker = self._asker()
        registry = self._kept.get(("registry", home.registry, home.region), lambda: self._registry(home, asker))
        repository = self._kept.get(("repository", home), lambda: self._repository(home, asker))
        blind = [*registry.blind, *registry.sentences(home), *repository.blind]
        uses: list[Use] = []
        regions = dict.fromkeys((home.region, *registry.regions(home)))
        homes = [Repository(home.registry, region, home.name) for region in regions]
        looks = [(there.region, look) for there in homes for look in self._looks(there, subject, asker)]
        found = each(self._places, lambda one: one[1](), looks)
        for (region, _), looked in zip(looks, found, strict=True):
            at = min(at, looked.seen_at or at)
            uses += [_placed(use, region, home) for use in looked.uses if _means(use.image, subject, homes)]
            blind += [_where(sentence, region, home) for sentence in looked.blind]
        return _told(uses, blind, at)

    def pull_role(self, task_arn: str) -> str | None:
        return find_pull_role(task_arn, self._client_of, self._asker())

    def _asker(self) -> Asker:
        return Asker(self._now, self._now() + self._patience, self._calls, self._pause)

    def _client_of(self, service: str, account: str, region: str) -> Any:
        """Raises DeniedError, and UpstreamError where boto3 cannot make one."""
        with aws_call(f"a client of {service}"):
            return self._make(service, account, region)

    def _registry(self, home: Repository, asker: Asker) -> RegistryReach:
        unreachable = RegistryReach()
        with unreachable.at("the registry"):
            return look_at_registry(self._client_of("ecr", home.registry, home.region), asker)
        return unreachable

    def _repository(self, home: Repository, asker: Asker) -> PlaceAnswer:
        unreachable = PlaceAnswer()
        with unreachable.at("the repository"):
            return look_at_repository(self._client_of("ecr", home.registry, home.region), asker, home)
        return unreachable

    def _looks(self, home: Repository, subject: Subject, asker: Asker) -> list[Callable[[], PlaceAnswer]]:
        """One for each kind of place."""
        place, unreachable, clients = (home.registry, home.region), PlaceAnswer(), dict[str, Any]()
        with unreachable.at("what runs there"):
            clients = {service: self._client_of(service, *place) for service in SERVICES}
        if not clients:
            return [lambda: unreachable]
        keep, ecs = self._kept.get, clients["ecs"]
        rules, schedules = self._schedules.look_at_rules, self._schedules.look_at_schedules
        return [
            lambda: keep(("ecs", *place), lambda: self._ecs.look(ecs, asker)),
            lambda: keep(("rules", *place), lambda: rules(clients["events"], ecs, asker)),
            lambda: keep(("schedules", *place), lambda: schedules(clients["scheduler"], ecs, asker)),
            lambda: keep(("lambda", *place), lambda: self._lambda.look(clients["lambda"], asker)),
            lambda: self._look_at_eks(clients, home, subject, asker),
        ]

    def _look_at_eks(self, clients: Mapping[str, Any], home: Repository, subject: Subject, asker: Asker) -> PlaceAnswer:
        """A copy is asked about where it lies: Inspector speaks of the images and clusters of its own Region."""
        clusters = self._kept.get(
            ("eks", home.registry, home.region), lambda: self._eks.clusters(clients["eks"], asker)
        )
        looked = PlaceAnswer(seen_at=clusters.seen_at)
        looked.join([clusters])
        if clusters.names:
            there = msgspec.structs.replace(subject, ref=home.image(subject.ref.digest))
            asked = self._eks.ask(clients["inspector2"], asker, there, clusters.names)
            looked.join([asked])
            looked.seen_at = min((at for at in (looked.seen_at, asked.seen_at) if at is not None), default=None)
        return looked

    def _stranger(self, home: Repository) -> str | None:
        """Why nothing of the registry's account can be looked at; None: we are let in."""
        try:
            self._client_of("ecr", home.registry, home.region)
        except LazarettoError as error:
            return f"account {home.registry} cannot be looked at: {why(error)}"
        return None


def _means(image: ImageName, subject: Subject, homes: Collection[Repository]) -> bool:
    """A digest decides; a tag alone is a promise to pull whatever it points at. `homes`: its repository, and those its
    copies lie in."""
    if image.home not in homes:
        return False
    if subject.whole:
        return True
    if image.digest:
        return image.digest in subject.digests or image.digest in subject.attached
    return image.tag in subject.tags


def _placed(use: Use, region: str, home: Repository) -> Use:
    return Use(use.image, _where(use.who, region, home), use.running, use.note)


def _where(text: str, region: str, home: Repository) -> str:
    return text if region == home.region else f"{region}: {text}"


def _told(uses: Sequence[Use], blind: Sequence[str], at: datetime) -> InUse:
    by = _sentences(uses)
    counts = [use.running for use in uses if use.running is not None]
    state = InUseState.YES if by else InUseState.UNKNOWN if blind else InUseState.NO
    count = sum(counts) if counts else 0 if state is InUseState.NO else None
    return InUse(
        state=state,
        count=count,
        last_at=at if count else None,
        seen_at=at,
        by=_shortened(by),
        blind=_shortened(list(dict.fromkeys(blind))),
        looked=True,
    )


def _sentences(uses: Sequence[Use]) -> list[str]:
    """One for each who: with how many units run, or why it counts although none does. Most first."""
    running: dict[str, int] = {}
    notes: dict[str, dict[str, None]] = {}
    for one in uses:
        running[one.who] = running.get(one.who, 0) + (one.running or 0)
        notes.setdefault(one.who, {}).update(dict.fromkeys([one.note] if one.note else []))
    return [
        f"{who}{_bracket(running[who], list(notes[who]), who)}"
        for who in sorted(running, key=lambda w: (-running[w], w))
    ]


def _bracket(running: int, notes: list[str], who: str) -> str:
    if running:
        unit = "task" if "ECS" in who else "pod" if "EKS" in who else "unit"
        return f" ({running} {unit}{'' if running == 1 else 's'})"
    return f" ({', '.join(notes[:NOTES])}{' …' if len(notes) > NOTES else ''})" if notes else ""


def _shortened(sentences: list[str]) -> tuple[str, ...]:
    rest = len(sentences) - SENTENCES
    return (*sentences[:SENTENCES], f"and {rest} more") if rest > 0 else tuple(sentences)
