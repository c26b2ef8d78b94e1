"""The demo: pushes to several repositories, scans, and later news. Each step says what it shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import boto3

from chalicelib.domain.events.message import Refresh
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Repository
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered, scan_events
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo import demo_registry as registry
from chalicelib.local.demo.demo_registry import Flaw
from chalicelib.local.ecr.ecr import MANIFEST, ecr_of
from chalicelib.local.inspector import inspector_of

ALIAS = "public/demo"
AMD64 = "linux/amd64"
ACTOR = f"arn:aws:sts::{ACCOUNT}:assumed-role/platform/demo"
Show = Callable[[str], None]


class Demo:
    """`refs`: the images in order of appearance. Both acts only deliver events; the caller drains the queues."""

    def __init__(self, stack: LocalStack, show: Show = lambda line: None) -> None:
        self._stack, self._show = stack, show
        self._ecr = boto3.Session(region_name=stack.region).client("ecr")
        self.refs: list[ImageRef] = []

    def open(self) -> None:
        """Fills and scans the registry."""
        for flaw in registry.FLAWS:
            listed = datetime.fromisoformat(flaw.cisa).replace(tzinfo=UTC).timestamp() if flaw.cisa else None
            inspector_of(self._stack.region).kev[flaw.id] = {"dateAdded": listed} if listed else None
        for step in (self._multi_arch, self._basic_scan, self._clean, self._unscannable, self._public, self._hostile):
            step()

    def go_on(self) -> None:
        """The news. Call it when everything is handled and a second has passed."""
        self._moved_tag()
        self._news()

    def _multi_arch(self) -> None:
        self._show("team/checkout:2.3.1 is pushed for two platforms, with an attestation; Inspector scans both")
        home = "team/checkout"
        amd64, arm64 = self._push(home, "2.3.1"), self._push(home, "2.3.1", platform="linux/arm64")
        attested = self._put(home, registry.attestation(amd64.digest))
        platforms = {AMD64: amd64.digest, "linux/arm64": arm64.digest}
        self._put(home, registry.index(platforms, {amd64.digest: attested.digest}), "2.3.1")
        self._enhanced(amd64, registry.LOG4SHELL, registry.OPENSSL)
        self._enhanced(arm64, registry.OPENSSL)

    def _basic_scan(self) -> None:
        self._show("team/web:1.0.0, also called `stable`, is scanned by ECR itself")
        ref = self._push("team/web", "1.0.0", "1.0.0", "stable")
        self._basic(ref, registry.basic_scan((registry.CURL, registry.EXPAT, registry.ZLIB), _now()))

    def _moved_tag(self) -> None:
        self._show("team/web:1.1.0 is pushed; the tag `stable` moves to it, and nothing is found in it")
        ref = self._push("team/web", "1.1.0", "1.1.0", "stable")
        self._basic(ref, registry.basic_scan((), _now()))

    def _clean(self) -> None:
        self._show("base/python:3.13 is scanned by Inspector: nothing found")
        self._enhanced(self._push("base/python", "3.13", "3.13"))

    def _unscannable(self) -> None:
        self._show("team/batch fails to be scanned, team/legacy runs on something Inspector does not know")
        failed = self._push("team/batch", "0.9.0", "0.9.0")
        self._basic(failed, registry.basic_scan((), _now(), "FAILED", "The image could not be unpacked."))
        self._enhanced(self._push("team/legacy", "4.2", "4.2"), reason="UNSUPPORTED_OS")

    def _public(self) -> None:
        self._show("public.ecr.aws/demo/team/web has the name of a private repository; it is never scanned")
        digest = "sha256:" + "c0ffee" * 10 + "c0de"
        ref = ImageRef(ALIAS, PUBLIC_REGION, "team/web", digest)
        self._stack.aws.public.hold(ref, ("1.1.0",), MANIFEST, _now())
        self.refs.append(ref)
        self._stack.context.outbox.send("scans", Refresh(ref, _now()))

    def _hostile(self) -> None:
        self._show("team/widgets has a package and an advisory that try to notify everyone")
        self._enhanced(self._push("team/widgets", "5.0.0", "5.0.0"), registry.HOSTILE)

    def _news(self) -> None:
        self._show("a flaw becomes known in base/python:3.13, clean until now")
        ref = next(ref for ref in self.refs if ref.repository == "base/python")
        row = self._hold(ref, registry.CURL)
        self._stack.aws.put_event(aws_events.finding_changed(ref, row, _now()))

    # ---- people and scanners

    def _push(self, repository: str, version: str, *tags: str, platform: str = AMD64) -> ImageRef:
        return self._put(repository, registry.manifest(repository, version, platform), *tags)

    def _put(self, repository: str, manifest: str, *tags: str) -> ImageRef:
        """Creates the repository with its first image. ECR sends the event of each tag."""
        home = Repository(ACCOUNT, self._stack.region, repository)
        if home not in {ref.home for ref in self.refs}:
            self._ecr.create_repository(repositoryName=repository)
            self._stack.aws.put_event(aws_events.repository_created(home, ACTOR, _now()))
        digest = ""
        for tag in tags or ("",):
            named = {"imageTag": tag} if tag else {}
            answer = self._ecr.put_image(repositoryName=repository, imageManifest=manifest, **named)
            digest = answer["image"]["imageId"]["imageDigest"]
        self.refs.append(home.image(digest))
        return self.refs[-1]

    def _enhanced(self, ref: ImageRef, *flaws: Flaw, reason: str = "SUCCESSFUL") -> None:
        inspector, code = inspector_of(ref.region), "ACTIVE" if reason == "SUCCESSFUL" else "INACTIVE"
        with self._stack.aws.lock:
            for flaw in flaws:
                self._hold(ref, flaw)
            inspector.coverage[ref.arn] = covered(ref, code, reason, _now())
        self._announce(ref)

    def _basic(self, ref: ImageRef, scan: registry.Raw) -> None:
        ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest}).basic_scan = scan
        self._announce(ref)

    def _hold(self, ref: ImageRef, flaw: Flaw) -> registry.Raw:
        image = ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest})
        row = registry.enhanced_finding(ref, flaw, tuple(image.image_tags), image.pushed_at, _now())
        with self._stack.aws.lock:
            inspector_of(ref.region).hold(ref.arn, row)
        return row

    def _announce(self, ref: ImageRef) -> None:
        image = ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest})
        for event in scan_events(ref, image):
            self._stack.aws.put_event(event)


def _now() -> datetime:
    return datetime.now(UTC)
