"""Who runs an image: every place that can pull is asked, and the answers are put together (`AwsRuntime`).

NO is said only when nothing runs the image *and* every place that is asked has answered; what did not is a sentence,
and makes it UNKNOWN. Asked are ECS, EventBridge, Lambda, Batch, EKS (through Inspector) and what the policy's
`in_use.places` names, where the image lies and wherever replication puts its copies, or takes it from; ECS and
EventBridge in each other Region in which the account uses ECS. A workload that runs a copy runs the image: a copy may
go with it (replication of deletions), a copy held in reserve is not idle, and who asks for a digest means all of them.

Policies and replication may let in other accounts (`reach.py`). What an account runs that no role lets us look at
cannot be known here: each one is a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from time import sleep
from typing import Any

import msgspec

from chalicelib.adapters.aws.calls import aws_call
from chalicelib.adapters.inspector.inspector import Inspector
from chalicelib.adapters.usage.asking import Asker, CachedPlace, PlaceAnswer, Use, each, why
from chalicelib.adapters.usage.ecs_regions import EcsRegions, RegionUse, left_out_words
from chalicelib.adapters.usage.ecs_task import find_pull_role
from chalicelib.adapters.usage.ecs_use import NEWEST, EcsUse
from chalicelib.adapters.usage.eks_use import EksUse
from chalicelib.adapters.usage.lambda_use import LambdaUse
from chalicelib.adapters.usage.other_uses import PLACES, look_at_batch
from chalicelib.adapters.usage.reach import (
    CopyTags,
    RegistryReach,
    look_at_registry,
    look_at_repository,
    look_at_tags,
)
from chalicelib.adapters.usage.schedule_use import ScheduleUse
from chalicelib.domain.images.image import InUse, InUseState, Repository
from chalicelib.domain.images.names import ImageName
from chalicelib.errors import DeniedError, LazarettoError
from chalicelib.services.ports.registry import Subject

OF_ECS = ("ecs", "events", "scheduler")
SERVICES = (*OF_ECS, "lambda", "eks", "inspector2")
SENTENCES = 10
NOTES = 3
PATIENCE = timedelta(seconds=12)
"""How long one look may take, and the one call that hangs at its end beside it: the API has 28 seconds for all it
does. What is remembered of a look lets the next one get further."""
CALLS_AT_ONCE = 8
PLACES_AT_ONCE = 5
PUBLIC = "anyone may pull a public image, from anywhere"
Place = tuple[str, str]
"""Account and Region."""
Look = Callable[[], PlaceAnswer]


class _Kin(PlaceAnswer):
    """`homes`: the repository, those that hold its copies, and those it holds copies of; itself first. `reached`: the
    ones whose account lets us look."""

    homes: list[Repository] = []
    reached: list[Repository] = []


class _Switched(PlaceAnswer):
    """`words`: those of `PLACES` that the policy switches on."""

    words: tuple[str, ...] = ()


class AwsRuntime:
    """`client_of` gives the client of a service in an account and a Region, and raises DeniedError where nothing lets
    us look at the account. `switched_on`: the words of the policy's `in_use.places`; `registries`: those that are known
    beside the image's own, and may be the ones its copies come from. Safe to share between threads as far as its
    clients are.

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
        switched_on: Callable[[], Collection[str]] = tuple,
        registries: Callable[[], Collection[Place]] = tuple,
    ) -> None:
        self._make, self._now, self._patience, self._pause = client_of, now, patience, pause
        self._switched_on, self._registries = switched_on, registries
        alone = calls_at_once == 1
        self._calls = None if alone else ThreadPoolExecutor(calls_at_once, "calls")
        self._places = None if alone else ThreadPoolExecutor(PLACES_AT_ONCE, "places")
        self._kept = CachedPlace(now)
        self._ecs, self._lambda, self._regions = EcsUse(), LambdaUse(), RegionUse(self._client_of)
        self._schedules = ScheduleUse(self._ecs)
        self._eks = EksUse(Inspector(lambda account, region: self._client_of("inspector2", account, region)), now)

    def in_use(self, subject: Subject, since: datetime | None = None) -> InUse:
        """Never raises for a place that fails: it is `blind` then."""
        at, home = self._now(), subject.ref.home
        if home.public:
            return _told([], [PUBLIC], [], at)
        if (stranger := self._stranger(home)) is not None:
            return _told([], [f"account {home.registry} cannot be looked at: {why(stranger)}"], [], at)
        asker, switched = self._asker(since), self._switched()
        kin = self._kin(home, asker)
        blind, uses = [*switched.blind, *kin.blind], list[Use]()
        tags = dict.fromkeys(kin.homes, subject.tags)
        copies = [there for there in kin.reached if there != home and not (subject.whole or subject.pinned)]
        for there, told in zip(copies, asker.each(lambda one: self._tags(one, subject, asker), copies), strict=True):
            tags[there] = subject.tags | frozenset(told.tags)
            blind += [_where(sentence, _place(there), home) for sentence in told.blind]
        others = ", ".join(name for word, (name, *_) in PLACES.items() if word not in switched.words)
        left_out = [others] if others else []
        looks: list[tuple[Place, Look]] = []
        for there in kin.reached:
            looks += ((_place(there), look) for look in self._looks(there, subject, switched.words, asker))
        for account in dict.fromkeys(there.registry for there in kin.reached):
            mine = [there.region for there in kin.reached if there.registry == account]
            found = self._ecs_regions(account, mine, asker)
            blind += [_where(sentence, (account, home.region), home) for sentence in found.blind]
            left_out += [_where(words, (account, home.region), home) for words in left_out_words(found.left_out)]
            for place in [(account, region) for region in found.used]:
                looks += ((place, look) for look in (*self._ecs_looks(place, asker), self._batch(place, asker)))
        found_there = each(self._places, lambda one: one[1](), looks)
        for (place, _), looked in zip(looks, found_there, strict=True):
            at = min(at, looked.seen_at or at)
            uses += [_placed(use, place, home) for use in looked.uses if _means(use.image, subject, tags)]
            blind += [_where(sentence, place, home) for sentence in looked.blind]
        return _told(uses, blind, left_out, at)

    def pull_role(self, task_arn: str) -> str | None:
        return find_pull_role(task_arn, self._client_of, self._asker())

    def _asker(self, since: datetime | None = None) -> Asker:
        return Asker(self._now, self._now() + self._patience, self._calls, self._pause, since)

    def _client_of(self, service: str, account: str, region: str) -> Any:
        """Raises DeniedError, and UpstreamError where boto3 cannot make one."""
        with aws_call(f"a client of {service}"):
            return self._make(service, account, region)

    def _switched(self) -> _Switched:
        switched = _Switched()
        with switched.at("what `in_use.places` names"):
            switched.words = tuple(self._switched_on())
        return switched

    # ---- where copies lie, and who else is let in

    def _kin(self, home: Repository, asker: Asker) -> _Kin:
        """What a policy lets in beside them makes it blind."""
        kin, own, known = _Kin(), self._registry(_place(home), asker), list[Place]()
        homes = {home: None, **dict.fromkeys(own.copies(home))}
        with kin.at("which registries are watched"):
            known += self._registries()
        places = [place for place in known if place != _place(home) and _may_copy(place, home, own)]
        for place, reach in zip(places, asker.each(lambda one: self._registry(one, asker), places), strict=True):
            kin.blind += [_where(sentence, place, home) for sentence in reach.blind]
            source = Repository(*place, home.name)
            if home in (copies := reach.copies(source)):
                homes |= dict.fromkeys((source, *copies))
        kin.homes = list(homes)
        for there in kin.homes:
            stranger = self._stranger(there)
            if stranger is None:
                kin.reached.append(there)
                kin.blind += [_where(sentence, _place(there), home) for sentence in self._let_in(there, asker)]
            else:
                kin.blind.append(_stranger_words(stranger, there, home))
        return kin

    def _let_in(self, home: Repository, asker: Asker) -> Iterator[str]:
        registry = self._registry(_place(home), asker)
        yield from (*registry.blind, *registry.sentences(home))
        yield from self._kept.get(("repository", home), lambda: self._repository(home, asker)).blind

    def _registry(self, place: Place, asker: Asker) -> RegistryReach:
        def look() -> RegistryReach:
            unreachable = RegistryReach()
            with unreachable.at("the registry"):
                return look_at_registry(self._client_of("ecr", *place), asker)
            return unreachable

        return self._kept.get(("registry", place), look)

    def _tags(self, home: Repository, subject: Subject, asker: Asker) -> CopyTags:
        unreachable = CopyTags()
        with unreachable.at("the tags of the copy"):
            return look_at_tags(self._client_of("ecr", *_place(home)), asker, home, subject.digests)
        return unreachable

    def _repository(self, home: Repository, asker: Asker) -> PlaceAnswer:
        unreachable = PlaceAnswer()
        with unreachable.at("the repository"):
            return look_at_repository(self._client_of("ecr", home.registry, home.region), asker, home)
        return unreachable

    def _stranger(self, home: Repository) -> LazarettoError | None:
        """Why nothing of the registry's account can be looked at; None: we are let in."""
        try:
            self._client_of("ecr", home.registry, home.region)
        except LazarettoError as error:
            return error
        return None

    def _ecs_regions(self, account: str, known: Sequence[str], asker: Asker) -> EcsRegions:
        return self._kept.get(("regions", account, *known), lambda: self._regions.look(account, known, asker))

    # ---- what runs there

    def _looks(self, home: Repository, subject: Subject, words: Collection[str], asker: Asker) -> list[Look]:
        """One for each kind of place, where the image or a copy of it lies."""
        place, keep = _place(home), self._kept.get
        clients, unreachable = self._clients(SERVICES, place)
        if not clients:
            return [lambda: unreachable]
        return [
            *self._ecs_looks(place, asker),
            lambda: keep(("lambda", *place), lambda: self._lambda.look(clients["lambda"], asker), asker.since),
            self._batch(place, asker),
            *(partial(self._look_beyond, word, place, asker) for word in PLACES if word in words),
            lambda: self._look_at_eks(clients, home, subject, asker),
        ]

    def _batch(self, place: Place, asker: Asker) -> Look:
        def look() -> PlaceAnswer:
            unreachable = PlaceAnswer()
            with unreachable.at("AWS Batch"):
                return look_at_batch(self._client_of("batch", *place), asker)
            return unreachable

        return lambda: self._kept.get(("batch", *place), look, asker.since)

    def _ecs_looks(self, place: Place, asker: Asker) -> list[Look]:
        keep, account = self._kept.get, place[0]
        clients, unreachable = self._clients(OF_ECS, place)
        if not clients:
            return [lambda: unreachable]
        ecs, rules, schedules = clients["ecs"], self._schedules.look_at_rules, self._schedules.look_at_schedules
        return [
            lambda: keep(("ecs", *place), lambda: self._ecs.look(ecs, asker), asker.since),
            lambda: keep(("families", *place), lambda: self._ecs.look_at_families(account, ecs, asker), asker.since),
            lambda: keep(("rules", *place), lambda: rules(clients["events"], ecs, asker), asker.since),
            lambda: keep(("schedules", *place), lambda: schedules(clients["scheduler"], ecs, asker), asker.since),
        ]

    def _clients(self, services: Sequence[str], place: Place) -> tuple[dict[str, Any], PlaceAnswer]:
        unreachable, clients = PlaceAnswer(), dict[str, Any]()
        with unreachable.at("what runs there"):
            clients = {service: self._client_of(service, *place) for service in services}
        return clients, unreachable

    def _look_beyond(self, word: str, place: Place, asker: Asker) -> PlaceAnswer:
        name, service, look = PLACES[word]

        def looked() -> PlaceAnswer:
            unreachable = PlaceAnswer()
            with unreachable.at(name):
                return look(self._client_of(service, *place), asker)
            return unreachable

        return self._kept.get((word, *place), looked, asker.since)

    def _look_at_eks(self, clients: Mapping[str, Any], home: Repository, subject: Subject, asker: Asker) -> PlaceAnswer:
        """A copy is asked about where it lies: Inspector speaks of the images and clusters of its own Region."""
        key = ("eks", home.registry, home.region)
        clusters = self._kept.get(key, lambda: self._eks.clusters(clients["eks"], asker), asker.since)
        looked = PlaceAnswer(seen_at=clusters.seen_at)
        looked.join([clusters])
        if clusters.names:
            there = msgspec.structs.replace(subject, ref=home.image(subject.ref.digest))
            asked = self._eks.ask(clients["inspector2"], asker, there, clusters.names)
            looked.join([asked])
            looked.seen_at = min((at for at in (looked.seen_at, asked.seen_at) if at is not None), default=None)
        return looked


def _place(home: Repository) -> Place:
    return home.registry, home.region


def _stranger_words(error: LazarettoError, there: Repository, home: Repository) -> str:
    if isinstance(error, DeniedError):
        return f"account {there.registry} in {there.region} gets copies by replication, and cannot be looked at"
    return _where(f"the registry cannot be looked at: {why(error)}", _place(there), home)


def _may_copy(place: Place, home: Repository, own: RegistryReach) -> bool:
    """A registry takes in copies of another account's by its policy alone."""
    return place[0] == home.registry or own.policy is not None or own.failed


def _means(image: ImageName, subject: Subject, tags: Mapping[Repository, Collection[str]]) -> bool:
    """A digest decides; a tag alone is a promise to pull whatever it points at. `tags`: those of its repository, and of
    each that a copy lies in."""
    if image.home not in tags:
        return False
    if subject.whole:
        return True
    if image.digest:
        return image.digest in subject.digests or image.digest in subject.attached
    return not subject.pinned and image.tag in tags[image.home]


def _placed(use: Use, place: Place, home: Repository) -> Use:
    return Use(use.image, _where(use.who, place, home), use.running, use.note)


def _where(text: str, place: Place, home: Repository) -> str:
    account, region = place
    named = [region] if region != home.region else []
    named += [f"account {account}"] if account != home.registry else []
    return f"{', '.join(named)}: {text}" if named else text


def _told(uses: Sequence[Use], blind: Sequence[str], left_out: Sequence[str], at: datetime) -> InUse:
    """A family that may be started is named where nothing else is: it stands behind most of what runs."""
    uses = [use for use in uses if use.note != NEWEST] or uses
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
        left_out=tuple(left_out),
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
