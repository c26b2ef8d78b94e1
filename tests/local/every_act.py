"""Scenarios of what Lazaretto does to images, and of what people may ask for: played on the stack of `Played`."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import boto3
import msgspec

from chalicelib.domain.events.message import Act, Refresh, SendDailySummary, StoreCheckpoints
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep, SweepRepository, TakeImages, begin
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Order, PendingAct, Stage
from chalicelib.domain.images.image import ImageRef, Repository, ScanState, Source
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.replication.rules import Destination
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered
from chalicelib.local.aws.stack import REGION
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.local.inspector import inspector_of
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.reconcile.retire_registry import NEXT_ROUND_AFTER
from chalicelib.services.usage import find_image_uses
from tests.fakes.iam import ACCOUNT_ROLES, REPLICA_ACCOUNT, REPLICA_REGION, arn
from tests.local.every_function import Played
from tests.local.every_place import fill_every_place
from tests.local.push_image import INDEX, MANIFEST, Pusher

OTHER_REGION = REPLICA_REGION
DENIED = "team/denied"
EXPLOITED = "{id: exploited, match: {kev: true}, decision: warn}"
POLICY = """
version: 1
mode: enforce
quarantine: {{when_running: proceed, max_per_hour: {fuse}}}
in_use: {{places: [app-runner, sagemaker, codebuild]}}
replication: {{within_minutes: 1}}
rules:
  - {{id: shut, match: {{{shut}}}, decision: block, enforce: repository-policy}}
  - {{id: worse, match: {{vulnerability_id: [CVE-2026-31099]}}, decision: quarantine}}
notify:
  - {{channel: slack, min_decision: warn}}
  - {{channel: sns, min_decision: warn, events: [verdict, fuse, waiver, pull-failed, summary]}}
  - {{channel: webhook, min_decision: warn}}
"""
MACHINE = "ami-12c6146b"
"""One that moto knows."""


class Acts:
    """To be played after what `Played` plays. Each public step ends with empty queues."""

    def __init__(self, played: Played) -> None:
        self.played = played

    # ---- what is there

    def fill_what_runs(self) -> None:
        """One of everything that may run images, here and where the registry is copied to."""
        self.apply()
        destination = {"region": OTHER_REGION, "registryId": ACCOUNT}
        rules: Any = [{"destinations": [destination]}]
        self.played.ecr.put_replication_configuration(replicationConfiguration={"rules": rules})
        image = self.push("team/running", "1.0.0")
        copy = msgspec.structs.replace(image, region=OTHER_REGION)
        ecr_of(copy.home).hold_image(copy.repository, copy.digest)
        for ref in (image, copy):
            fill_every_place(ref, ref.region, self.played.stack.aws)
        self.played.settle()

    def push(self, repository: str, tag: str, *more: str) -> ImageRef:
        self.played.ecr.create_repository(repositoryName=repository)
        text, digest = demo_registry.manifest(repository, tag, "linux/amd64"), ""
        for each in (tag, *more):
            answer = self.played.ecr.put_image(repositoryName=repository, imageManifest=text, imageTag=each)
            digest = answer["image"]["imageId"]["imageDigest"]
        self.played.settle()
        return ImageRef(ACCOUNT, REGION, repository, digest)

    def apply(self, fuse: int = 20, shut: str = "repository: nothing") -> None:
        apply_policy(POLICY.format(fuse=fuse, shut=shut), "oncall", self.played.context)
        self.played.settle()

    # ---- what is done

    def archive(self) -> ImageRef:
        self.apply()
        ref = self.push("team/archived", "1.0.0")
        self.take_and_give_back(ref)
        return ref

    def worsen(self) -> None:
        """A finding event alone takes an image away."""
        image = self.played.image("base/python")
        now = self.played.clock.now()
        flaw = msgspec.structs.replace(demo_registry.CURL, id="CVE-2026-31099", days=0)
        row = demo_registry.enhanced_finding(image, flaw, ("3.13",), now, now)
        with self.played.stack.aws.lock:
            inspector_of(REGION).hold(image.arn, row)
        self.played.stack.aws.put_event(aws_events.finding_changed(image, row, now))
        self.played.settle()
        assert self.header(image).hold is not None

    def lose_an_act(self) -> None:
        """Its worker died: another takes over, too early at first."""
        ref, now = self.push("team/half-done", "1.0.0"), self.played.clock.now()
        order = Order(ActionType.QUARANTINE, "oncall", "it is meant", now)
        begun = Enforcement(ActionType.QUARANTINE, 1, Stage.BEGUN, now, "archive")
        act = PendingAct(ActionType.QUARANTINE, 1, now, method="archive", by="person:oncall", before="ACTIVE")
        header = msgspec.structs.replace(
            self.header(ref), order=order, enforcement=begun, enforcement_number=1, pending=(act,)
        )
        self.played.context.table.put_header(header)
        self.played.context.outbox.send("actions", Act(ref, act.key, attempt=1))
        assert self.played.pump.turn()
        self.played.clock.move(timedelta(minutes=10))
        self.played.settle()
        assert self.header(ref).hold is not None

    def archive_index(self) -> None:
        """Its image goes along: the order is sent on to it."""
        home = Repository(ACCOUNT, REGION, "team/indexed")
        self.played.ecr.create_repository(repositoryName=home.name)
        pusher = Pusher(self.played.ecr, home)
        index = pusher.index({"linux/amd64": pusher.image([b"base", b"application"])}, ["1.0.0"])
        self.played.settle()
        self.take_and_give_back(index)

    def take_and_give_back(self, ref: ImageRef) -> None:
        self.order("quarantine", ref)
        assert self.header(ref).hold is not None
        self.order("release", ref)
        assert self.header(ref).hold is None

    def deny_pulls(self) -> None:
        """Of a repository that has no policy of its own, and of one that has."""
        other = self.push(f"{DENIED}-too", "1.0.0")
        own = {"Effect": "Allow", "Principal": "*", "Action": ["ecr:DescribeImages"]}
        text = json.dumps({"Version": "2012-10-17", "Statement": [own]})
        self.played.ecr.set_repository_policy(repositoryName=other.repository, policyText=text)
        refs = [self.push(DENIED, "1.0.0"), other]
        self.apply(shut=f'repository: "{DENIED}*"')
        assert all(self.header(ref).denied for ref in refs)
        self.apply()
        assert not any(self.header(ref).denied for ref in refs)

    def blow_the_fuse(self) -> None:
        """It lets one Deny pass within an hour; the other waits until a person makes it whole."""
        self.played.clock.move(timedelta(hours=2))
        self.apply(fuse=1, shut=f'repository: "team/fused-*", region: {REGION}')
        refs = [self.push(f"team/fused-{number}", "1.0.0") for number in range(2)]
        assert sum(self.header(ref).denied for ref in refs) == 1
        self.played.ask("POST", "/v1/fuse/reset", {"reason": "they are meant"})
        self.played.settle()
        assert all(self.header(ref).denied for ref in refs)

    def replicate(self) -> None:
        """To another Region and another account: what is quarantined here is taken away there as well."""
        places = [Destination(ACCOUNT, OTHER_REGION), Destination(REPLICA_ACCOUNT, OTHER_REGION)]
        context = self.played.context
        context.settings = msgspec.structs.replace(context.settings, account_roles=ACCOUNT_ROLES)
        self.apply()
        self.let_replicate_to(places[1])
        said: Any = [{"region": place.region, "registryId": place.registry} for place in places]
        self.played.ecr.put_replication_configuration(replicationConfiguration={"rules": [{"destinations": said}]})
        self.push_what_is_not_copied(places[0])
        ref = self.push("team/copied", "1.0.0")
        self.order("quarantine", ref)
        context.outbox.send("sweeps", SweepRepository(Sweep.REPLICATION, ref.home, self.played.clock.now()))
        self.played.settle()
        for place in places:
            assert self.header(place.repository(ref.home).image(ref.digest)).hold is not None

    def push_what_is_not_copied(self, place: Destination) -> None:
        LocalReplication.failing[place] = "MadeUp"
        self.push("team/uncopied", "1.0.0")
        LocalReplication.failing.clear()

    def let_replicate_to(self, place: Destination) -> None:
        who = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        actions = ["ecr:ReplicateImage", "ecr:CreateRepository"]
        statement = {"Effect": "Allow", "Principal": who, "Action": actions, "Resource": "*"}
        ecr = ecr_of(Repository(place.registry, place.region, ""))
        ecr.registry_policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    def watch_other_registries(self) -> None:
        """One in another Region of our account, one in another account: swept, looked at, quarantined, asked about."""
        there = [Repository(account, OTHER_REGION, "team/watched") for account in (ACCOUNT, REPLICA_ACCOUNT)]
        context, now = self.played.context, self.played.clock.now
        places = (RegistryPlace(OTHER_REGION), RegistryPlace(OTHER_REGION, REPLICA_ACCOUNT))
        context.settings = msgspec.structs.replace(context.settings, account_roles=ACCOUNT_ROLES, registries=places)
        retained = "[{repository: team/watched, keep: {newest: 9}}]"
        text = POLICY.format(fuse=20, shut="repository: nothing").replace("rules:", f"rules:\n  - {EXPLOITED}")
        apply_policy(f"{text}retention: {retained}\n", "oncall", context)
        self.played.settle()
        ours = boto3.client("ecr", region_name=OTHER_REGION)
        theirs = context._accounts.client(REPLICA_ACCOUNT, "ecr", OTHER_REGION)
        back = Destination(ACCOUNT, REGION)
        rules: Any = [{"destinations": [{"region": back.region, "registryId": back.registry}]}]
        ours.put_replication_configuration(replicationConfiguration={"rules": rules})
        LocalReplication.failing[back] = "MadeUp"
        refs = []
        for client, home in ((ours, there[0]), (theirs, there[1])):
            client.create_repository(repositoryName=home.name)
            refs.append(Pusher(client, home).image([b"base", b"watched"], ["1.0.0"]))
        self.played.settle()
        LocalReplication.failing.clear()
        self.played.clock.move(timedelta(hours=2))
        for sweep in (Sweep.RECONCILE, Sweep.REPLICATION, Sweep.POSTURE, Sweep.RETENTION):
            for plan in begin(sweep, context.registries, now()):
                context.outbox.send("sweeps", plan)
                self.played.settle()
        self.find_in(Pusher(theirs, there[1]).image([b"base", b"inspected"], ["2.0.0"]))
        for ref in refs:
            assert self.header(ref).scan.state is ScanState.COMPLETE
            self.order("quarantine", ref)
            assert self.header(ref).hold is not None

    def retire(self) -> None:
        """A registry that no setting names any more; then an event of it comes late."""
        stranger = Repository("999900001111", REGION, "team/closed").image(f"sha256:{'5' * 64}")
        now = self.played.clock.now()
        self.played.context.table.put_header(Header(ref=stranger, exists=True, existence_at=now, known_at=now))
        named = {"registry": stranger.registry, "region": REGION, "reason": "the account is closed"}
        self.played.ask("POST", "/v1/registry/retire", named)
        self.played.settle()
        self.played.clock.move(NEXT_ROUND_AFTER)
        self.played.settle()
        assert self.header(stranger).is_retired
        self.played.stack.aws.put_event(aws_events.inspector_scan_finished(stranger, (), {}, self.played.clock.now()))
        self.played.settle()

    def find_in(self, ref: ImageRef) -> None:
        """Inspector scans it, and finds something that nobody knows to be exploited or not."""
        inspector, now = inspector_of(ref.region), self.played.clock.now()
        inspector.coverage[ref.arn] = covered(ref, "ACTIVE", "SUCCESSFUL", now)
        self.played.context.outbox.send("scans", Refresh(ref, now, Source.ENHANCED))
        self.played.settle()
        row = demo_registry.enhanced_finding(ref, demo_registry.CURL, ("2.0.0",), now, now)
        inspector.hold(ref.arn, row)
        self.played.clock.move(timedelta(days=8))
        self.played.stack.aws.put_event(aws_events.finding_changed(ref, row, self.played.clock.now()))
        self.played.settle()

    # ---- what people ask for

    def order(self, what: str, ref: ImageRef, **terms: bool) -> None:
        named = {"repository": ref.repository, "registry": ref.registry, "region": ref.region, "digest": ref.digest}
        self.played.ask("POST", f"/v1/{what}", {**named, "reason": "it is to be so", **terms})
        self.played.settle()

    def undo(self, ref: ImageRef) -> None:
        """An act that was ordered; then the waiver and the policy that were put last."""
        self.apply()
        self.order("quarantine", ref, force=True)
        assert self.header(ref).hold is not None
        for query, kind in (
            (f"region={ref.region}&repository={ref.repository}&digest={ref.digest}", "QUARANTINE"),
            (f"subject=waiver/{self.waive(days=20)}", "WAIVE"),
            ("subject=policy", "POLICY"),
        ):
            records = self.played.ask("GET", f"/v1/audit?{query}")["records"]
            newest = next(record for record in records if record["kind"] == kind)
            self.played.ask("POST", "/v1/undo", {"action_id": newest["action_id"], "reason": "it was wrong"})
            self.played.settle()
        assert self.header(ref).hold is None

    def waive(self, days: int) -> str:
        """It is for the image that was scanned, and its id."""
        ends = self.played.clock.now() + timedelta(days=days)
        wish = {
            "repository": "team/*",
            "vulnerability_id": demo_registry.OPENSSL.id,
            "reason": f"for {days} days",
            "approved_by": "security@example.com",
            "expires_at": ends.isoformat(),
        }
        identity: str = self.played.ask("POST", "/v1/waivers", wish)["id"]
        self.played.settle()
        return identity

    def end_waivers(self) -> None:
        """One by a person. One by itself: people are warned, told, and after a quarter of a year it is forgotten."""
        self.played.ask("DELETE", f"/v1/waivers?id={self.waive(days=10)}&reason=it+is+fixed")
        self.played.settle()
        self.waive(days=10)
        for days in (8, 3, 91):
            self.played.clock.move(timedelta(days=days))
            self.played.run_clock()
        assert self.played.ask("GET", "/v1/waivers")["waivers"] == []

    def ask_what_if(self) -> str:
        """The id of the question; it is answered."""
        text = POLICY.format(fuse=20, shut='repository: "team/*"')
        identity: str = self.played.ask("POST", "/v1/policy/what-if", {"policy": text, "since_days": 2})["id"]
        self.played.settle()
        assert self.played.ask("GET", f"/v1/policy/what-if?id={identity}")["state"] == "done"
        return identity

    def fail_to_pull(self) -> None:
        """A task on a machine of its own, whose role is not let in; then one whose image is public, which is asked of
        the API as well. The sample of a trigger is another one."""
        ref = self.push("team/refused", "1.0.0")
        task = self.task_on_a_machine(ref)
        named = str(ref).partition("@")[0]
        reason = (
            f"CannotPullContainerError: pull access denied for {named}, repository does not exist or may require "
            "authorization: server message: insufficient_scope: authorization failed"
        )
        self.tell_of(task, reason)
        public = next(known for known in self.played.demo.refs if known.home.public)
        gone = f"CannotPullContainerError: {public}: not found"
        self.tell_of({**task, "containers": [{**task["containers"][0], "image": str(public)}]}, gone)
        self.played.ask("GET", f"/v1/pull-failure?{urllib.parse.urlencode({'text': gone})}")

    def tell_of(self, task: dict[str, Any], reason: str) -> None:
        self.played.stack.aws.put_event(aws_events.task_failed(task, reason, self.played.clock.now()))
        self.played.settle()

    def task_on_a_machine(self, ref: ImageRef) -> dict[str, Any]:
        """As ECS describes it."""
        iam, ec2, ecs = boto3.client("iam"), boto3.client("ec2"), boto3.client("ecs")
        iam.create_role(RoleName="machine", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="machine")
        iam.add_role_to_instance_profile(InstanceProfileName="machine", RoleName="machine")
        profile: Any = {"Name": "machine"}
        started = ec2.run_instances(ImageId=MACHINE, MinCount=1, MaxCount=1, IamInstanceProfile=profile)
        said = json.dumps({"instanceId": started["Instances"][0]["InstanceId"]})
        ecs.create_cluster(clusterName="machines")
        instance = ecs.register_container_instance(cluster="machines", instanceIdentityDocument=said)
        container: Any = {"name": "api", "image": str(ref), "memory": 128, "essential": True}
        made = ecs.register_task_definition(family="on-a-machine", containerDefinitions=[container])
        answer: Any = ecs.start_task(
            cluster="machines",
            taskDefinition=made["taskDefinition"]["taskDefinitionArn"],
            containerInstances=[instance["containerInstance"]["containerInstanceArn"]],
        )
        (task,) = answer["tasks"]
        return {
            **{name: task[name] for name in ("taskArn", "clusterArn", "taskDefinitionArn", "containerInstanceArn")},
            "launchType": "EC2",
            "containers": [{"name": "api", "image": str(ref), "lastStatus": "STOPPED", "taskArn": task["taskArn"]}],
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
            "stopCode": "TaskFailedToStart",
        }

    def expire(self) -> None:
        """Retention deletes an image. Nothing runs anywhere yet, so that this can be told of an image never scanned."""
        said = "[{repository: team/expired, keep: {newest: 1}, max_share: 1}]"
        apply_policy(
            f"{POLICY.format(fuse=20, shut='repository: nothing')}retention: {said}\n", "oncall", self.played.context
        )
        home = Repository(ACCOUNT, REGION, "team/expired")
        self.played.ecr.create_repository(repositoryName=home.name)
        pusher = Pusher(self.played.ecr, home)
        old = pusher.image([b"old"], ["1.0.0"])
        self.played.settle()
        self.played.clock.move(timedelta(hours=1))
        pusher.image([b"new"], ["1.1.0"])
        self.played.settle()
        # Retention takes no image whose copies were not looked for.
        for sweep in (Sweep.REPLICATION, Sweep.RETENTION):
            self.played.context.outbox.send("sweeps", SweepRepository(sweep, home, self.played.clock.now()))
            self.played.settle()
        assert not self.header(old).exists

    def retain(self) -> None:
        """A plan for one repository and a sweep of it, image by image; an index that nobody has heard of has to be
        read."""
        said = "[{repository: team/old, keep: {newest: 0}, max_share: 1}]"
        text = f"{POLICY.format(fuse=20, shut='repository: nothing')}retention: {said}\n"
        apply_policy(text, "oncall", self.played.context)
        home = Repository(ACCOUNT, REGION, "team/old")
        self.played.ecr.create_repository(repositoryName=home.name)
        pusher = Pusher(self.played.ecr, home)
        children = [
            pusher.image([b"base", layer], [tag]) for layer, tag in ((b"a", "1.0.0"), (b"b", "1.1.0"), (b"c", "2.0"))
        ]
        self.played.settle()
        rows = [{"mediaType": MANIFEST, "digest": child.digest, "size": 1} for child in children[:1]]
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})
        ecr_of(home).hold_image(home.name, f"sha256:{hashlib.sha256(index.encode()).hexdigest()}", index, INDEX)
        named = urllib.parse.urlencode({"repository": home.name, "region": REGION})
        self.played.ask("GET", f"/v1/retention/plan?{named}")
        hold = {"repository": home.name, "region": REGION, "reason": "a claim"}
        for about in ({}, {"digest": children[0].digest}):
            self.played.ask("POST", "/v1/legal-hold", {**hold, **about})
            self.played.ask("POST", "/v1/legal-hold/end", {**hold, **about})
        now = self.played.clock.now()
        with patch.object(find_image_uses, "MOST_LOOKED_UP", 1):
            for queue, message in (
                ("sweeps", SweepRepository(Sweep.RETENTION, home, now)),
                ("actions", TakeImages(home, now)),
            ):
                self.played.context.outbox.send(queue, message)
                self.played.settle()

    def prove(self) -> None:
        """An image that nobody has scanned is sent to ECR's own scanner; public images are listed and matched; the
        settings of a repository are gathered."""
        ref = self.push("team/unscanned", "1.0.0")
        self.played.clock.move(timedelta(hours=2))
        for message in (
            SweepRepository(Sweep.RECONCILE, ref.home, self.played.clock.now()),
            SweepRepository(Sweep.POSTURE, ref.home, self.played.clock.now()),
            PlanSweep(Sweep.PUBLIC, REGION, self.played.clock.now()),
        ):
            self.played.context.outbox.send("sweeps", message)
            self.played.settle()
        assert self.header(ref).scan.state is ScanState.COMPLETE

    def reconcile(self) -> None:
        """Two sweeps of the whole registry: by the second it is known since when findings may have changed. What a
        tag or an image lost without a word is asked for."""
        lost = self.push("team/lost", "1.0.0")
        with self.played.stack.aws.lock:
            ecr_of(lost.home).repositories[lost.repository].images.clear()
        for _ in range(2):
            self.played.clock.move(timedelta(hours=6))
            message = PlanSweep(Sweep.RECONCILE, REGION, self.played.clock.now())
            self.played.context.outbox.send("sweeps", message)
            self.played.settle()
        assert not self.header(lost).exists

    def put_checkpoints(self) -> None:
        day = f"{self.played.clock.now():%Y-%m-%d}"
        self.played.context.outbox.send("sweeps", StoreCheckpoints(day))
        self.played.settle()
        self.played.clock.move(timedelta(hours=30))
        self.played.context.outbox.send("sweeps", SendDailySummary(day))
        self.played.settle()

    def header(self, ref: ImageRef) -> Header:
        return self.played.stack.headers([ref])[ref].header


def play_everything(scenes: Played) -> None:
    """A minute and a half."""
    scenes.fill_the_registry()
    scenes.change_what_is_there()
    scenes.change_the_policy("warn")
    scenes.tell_by(arn("ssm", REGION, "parameter/slack"))
    scenes.change_the_policy("pending")
    scenes.lose_an_alert()
    scenes.let_days_pass()
    acts = Acts(scenes)
    acts.expire()
    acts.fill_what_runs()
    archived = acts.archive()
    acts.archive_index()
    acts.worsen()
    acts.lose_an_act()
    acts.deny_pulls()
    acts.blow_the_fuse()
    acts.fail_to_pull()
    acts.undo(archived)
    acts.end_waivers()
    acts.retain()
    acts.put_checkpoints()
    acts.replicate()
    acts.prove()
    acts.reconcile()
    acts.watch_other_registries()
    acts.retire()
    scenes.ask_everything(acts.ask_what_if())
