"""AWS before the scenario: ECR and Inspector answer as of now, or a little behind; an archive has its consequences.

An archived image is not scanned: Inspector closes its findings and tells so; nothing of it changes until it is restored
and scanned again. One whose eligibility lapsed is treated alike, for good. Who acts on an image that is so already is
answered as ECR does, and written down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bench import payloads
from bench.aws import PlayedAws, Refusal, by_token
from bench.generate import ImageState
from chalicelib.domain.images.image import ImageRef
from chalicelib.local import events as aws_events
from tests.chaos.scenario import LAPSED, Event, Scenario, closed

ACTIVE_AFTER, SCANNED_AFTER = 120, 240
"""Seconds after a restore was asked for."""
LONGEST_LAG = 50
PAGE = 10
"""Findings that Inspector lists at once: fewer than it may, so that an image takes several pages."""
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
Answer = Any


@dataclass
class Stay:
    """One time in the archive. `restored_at`: when it was asked for; the image is pullable `ACTIVE_AFTER` later."""

    archived_at: int
    restored_at: int | None = None

    def is_scanned(self, moment: float) -> bool:
        return self.restored_at is not None and moment >= self.restored_at + SCANNED_AFTER

    def status(self, moment: float) -> str:
        if self.restored_at is None:
            return "ARCHIVED"
        return "ACTIVE" if moment >= self.restored_at + ACTIVE_AFTER else "ACTIVATING"


@dataclass(frozen=True)
class Asked:
    """A change of an image's storage class that reached ECR: by which job, and whether it changed anything."""

    digest: str
    target: str
    at: float
    by: object
    changed: bool


class Living:
    """The registry as it is (`bench.aws.Shown`). `lag`: how many seconds behind Inspector's next list is.

    Its coverage is behind only in that an image is in the archive, and by more: its findings are closed, and it is said
    to be scanned. Else it is not: a list looks whole before it is. The other way round an image is known to be bad, and
    is taken away, before it was ever listed whole, and its verdict says so for good.
    """

    def __init__(self, scenario: Scenario, now: Callable[[], float], lag: Callable[[], float]) -> None:
        self.scenario, self._now, self._lag = scenario, now, lag
        self.stays: dict[str, list[Stay]] = {}

    def stay(self, digest: str, moment: float) -> Stay | None:
        """The last one that began before."""
        begun = [stay for stay in self.stays.get(digest, ()) if stay.archived_at <= moment]
        return begun[-1] if begun else None

    def is_scanned(self, digest: str, moment: float) -> bool:
        return self.closed_at(digest, moment) is None

    def tells(self, digest: str, at: int | float) -> bool:
        """Of an image that it does not scan Inspector has nothing to tell but that this begins."""
        return self.is_scanned(digest, at - (self.scenario.lives[digest].lapsed_at == at))

    def closed_at(self, digest: str, moment: float) -> int | None:
        """When Inspector closed all findings of an image that it does not scan; None: it does."""
        lapsed_at = self.lapsed_at(digest, moment)
        last = moment if lapsed_at is None else lapsed_at
        stay = self.stay(digest, last)
        return lapsed_at if stay is None or stay.is_scanned(last) else stay.archived_at

    def lapsed_at(self, digest: str, moment: float) -> int | None:
        at = self.scenario.lives[digest].lapsed_at
        return at if at is not None and at <= moment else None

    def status(self, digest: str, moment: float) -> str:
        stay = self.stay(digest, moment)
        return stay.status(moment) if stay else "ACTIVE"

    def image(self, digest: str, moment: float) -> ImageState | None:
        life = self.scenario.lives.get(digest)
        state = life.at(moment) if life else None
        if state is None or life is None:
            return None
        newest = self.scenario.latest(state.repository, moment) == digest
        state = replace(state, tags=(*state.tags, "latest") if newest else state.tags)
        closed_at = self.closed_at(digest, moment)
        if closed_at is not None:
            frozen = life.at(closed_at) or state
            return replace(state, findings=tuple(closed(row, closed_at) for row in frozen.findings))
        stay = self.stay(digest, moment)
        if stay is None:
            return state
        assert stay.restored_at is not None
        revived = stay.restored_at + SCANNED_AFTER
        rows = tuple(
            r if r.status == "CLOSED" else replace(r, updated_at=max(r.updated_at, revived)) for r in state.findings
        )
        return replace(state, findings=rows, scanned_at=max(state.scanned_at, revived))

    # ---- what the APIs answer

    def finding_pages(self, arn: str) -> Mapping[str, bytes]:
        return by_token(self._listed(arn, self._now() - self._lag()))

    def page_of(self, arn: str, token: str) -> bytes:
        """The first of a listing (token "") says of which moment all that follow are."""
        moment = float(token.partition("|")[0]) if token else self._now() - self._lag()
        pages = self._listed(arn, moment)
        of_it = ({**p, "nextToken": f"{moment}|{p['nextToken']}"} if "nextToken" in p else p for p in pages)
        return by_token(of_it)[token]

    def _listed(self, arn: str, moment: float) -> Iterator[dict[str, Any]]:
        state = self.image(_digest(arn), moment)
        return iter([{"findings": []}]) if state is None else payloads.finding_pages(self.scenario.plan, state, PAGE)

    def coverage(self, arn: str) -> dict[str, Any] | None:
        moment = self._now()
        digest = _digest(arn)
        state = self.image(digest, moment)
        if state is None:
            return None
        row = payloads.coverage(state)
        reason = self._unscanned(digest, state, moment)
        if reason is None:
            return row
        last = {"lastScannedAt": row.pop("lastScannedAt")} if state.scanned_at else {}
        row.pop("lastScannedAt", None)
        return row | last | {"scanStatus": {"statusCode": "INACTIVE", "reason": reason}}

    def scan_findings(self, digest: str) -> dict[str, Any]:
        state = self.image(digest, self._now())
        if state is None:
            raise Refusal("ImageNotFoundException")
        page = payloads.basic_page(state)
        reason = self._unscanned(digest, state, self._now())
        said = {"status": "ACTIVE", "description": "Continuous scan is selected for image."}
        if reason is not None:
            said = {"status": "PENDING", "description": reason}
        return {**page, "imageScanStatus": said, "imageScanFindings": {"enhancedFindings": []}}

    def image_page(self, digest: str) -> dict[str, Any]:
        state = self.image(digest, self._now())
        if state is None:
            raise Refusal("ImageNotFoundException")
        (detail,) = payloads.image_page(state)["imageDetails"]
        stay = self.stay(digest, self._now())
        if stay is None:
            return {"imageDetails": [detail]}
        times = {"lastArchivedAt": stay.archived_at}
        if stay.status(self._now()) == "ACTIVE" and stay.restored_at is not None:
            times["lastActivatedAt"] = stay.restored_at + ACTIVE_AFTER
        return {"imageDetails": [detail | times | {"imageStatus": stay.status(self._now())}]}

    def _unscanned(self, digest: str, state: ImageState, moment: float) -> str | None:
        stay = self.stay(digest, moment - 2 * self._lag())
        if stay is not None and stay.restored_at is None:
            return "IMAGE_ARCHIVED"
        if self.lapsed_at(digest, moment) is not None:
            return LAPSED
        if stay is not None and not stay.is_scanned(moment):
            return "PENDING_REVIVAL_SCAN"
        return None if state.scanned_at else "PENDING_INITIAL_SCAN"


class LivingAws(PlayedAws):
    """`tell` is given each event that follows from what we do, with its time; `put` each message to a queue of ours;
    `who` says which job is asking. `asked`: every change of a storage class."""

    def __init__(
        self,
        living: Living,
        now: Callable[[], datetime],
        tell: Callable[[float, Event], None],
        put: Callable[[str, str, float], None],
        who: Callable[[], object],
    ) -> None:
        super().__init__(living, now)
        self.living, self._tell, self._put, self._who = living, tell, put, who
        self.asked: list[Asked] = []

    def _answers(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return super()._answers() | {
            "ecr.GetRegistryScanningConfiguration": lambda _: {
                "registryId": payloads.ACCOUNT,
                "scanningConfiguration": {"scanType": "ENHANCED", "rules": []},
            }
        }

    def _list_findings(self, asked: dict[str, Any]) -> bytes:
        arn = asked["filterCriteria"]["resourceId"][0]["value"]
        return self.living.page_of(arn, asked.get("nextToken", ""))

    def _describe_images(self, asked: dict[str, Any]) -> Answer:
        (named,) = asked["imageIds"]
        digest = named.get("imageDigest") or self._tagged(asked["repositoryName"], named["imageTag"])
        return self.living.image_page(digest)

    def _tagged(self, repository: str, tag: str) -> str:
        moment = self.now().timestamp()
        for life in self.living.scenario.by_repository.get(repository, ()):
            state = self.living.image(life.digest, moment)
            if state is not None and tag in state.tags:
                return life.digest
        raise Refusal("ImageNotFoundException")

    def _archive(self, asked: dict[str, Any]) -> Answer:
        """UpdateImageStorageClass, to the archive and back."""
        digest, target, now = asked["imageId"]["imageDigest"], asked["targetStorageClass"], self.now()
        moment = int(now.timestamp())
        if self.living.image(digest, moment) is None:
            raise Refusal("ImageNotFoundException")
        status = self.living.status(digest, moment)
        fits = status == ("ACTIVE" if target == "ARCHIVE" else "ARCHIVED")
        self.asked.append(Asked(digest, target, now.timestamp(), self._who(), fits))
        if not fits:
            raise Refusal("ImageStorageClassUpdateNotSupportedException")
        (self._go if target == "ARCHIVE" else self._come_back)(digest, moment)
        return {**asked, "imageStatus": "ARCHIVED" if target == "ARCHIVE" else "ACTIVATING"}

    def _go(self, digest: str, moment: int) -> None:
        self.living.stays.setdefault(digest, []).append(Stay(moment))
        self._announce(digest, moment, "ARCHIVE", moment, "IMAGE_ARCHIVED", rows_at=moment)

    def _come_back(self, digest: str, moment: int) -> None:
        self.living.stays[digest][-1].restored_at = moment
        self._announce(digest, moment + ACTIVE_AFTER, "STANDARD", moment, "PENDING_REVIVAL_SCAN")
        self._announce(digest, None, "", moment + SCANNED_AFTER, "SUCCESSFUL", rows_at=moment + SCANNED_AFTER)

    def _announce(
        self, digest: str, moved_at: int | None, target: str, covered_at: int, reason: str, rows_at: int | None = None
    ) -> None:
        life = self.living.scenario.lives[digest]
        ref = ImageRef(payloads.ACCOUNT, payloads.REGION, life.repository, digest)
        if moved_at is not None:
            self._tell(moved_at, aws_events.storage_changed(ref, target, MEDIA_TYPE, _time(moved_at)))
        covered = aws_events.coverage_changed(ref, reason == "SUCCESSFUL", reason, _time(covered_at))
        self._tell(covered_at, covered)
        state = None if rows_at is None else self.living.image(digest, rows_at)
        if state is None or rows_at is None:
            return
        for row in state.findings:
            if row.updated_at == rows_at:
                told = payloads.finding(self.living.scenario.plan, state, row, "iso")
                self._tell(rows_at, aws_events.finding_changed(ref, told, _time(rows_at)))

    def _send(self, asked: dict[str, Any]) -> dict[str, str]:
        self._put(asked["QueueUrl"].rpartition("/")[2], asked["MessageBody"], asked.get("DelaySeconds", 0))
        return {"MessageId": "sent"}


def _digest(arn: str) -> str:
    return arn.rpartition("/")[2]


def _time(moment: int) -> datetime:
    return datetime.fromtimestamp(moment, UTC)
