"""The story of one image: pushed, scanned, found bad while it runs, quarantined, waived, released, and taken again.

Each step says what happens and what Lazaretto is expected to do, and observes whether it did. `world.py` acts and
observes; `lazaretto story` shows it, and a test plays it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from chalicelib.local.story.page import Step, StoryPage
from chalicelib.local.story.world import CLUSTER, FLAW, NAME, RESTORE_TAKES, SERVICE, Observed, StoryWorld

POLICY_FILE = Path(__file__).with_name("policy.yaml")
RECHECK = timedelta(minutes=15)
A_MINUTE = timedelta(minutes=1)
CLOCK_EVERY = timedelta(minutes=5)
WAIVED_FOR = timedelta(days=2)
ACTS = ["QUARANTINE", "QUARANTINE", "RELEASE", "QUARANTINE", "RELEASE", "QUARANTINE"]
_CRITICAL = ("CRITICAL", 9.8)


Scene = Callable[[StoryPage], None]


class Story:
    """`play` it once, on a fresh world."""

    def __init__(self, world: StoryWorld) -> None:
        self.world = world
        self._waiver: dict[str, Any] = {}

    @property
    def scenes(self) -> tuple[tuple[str, Scene], ...]:
        return (
            ("A policy that acts", self._policy),
            ("An image is pushed", self._push),
            ("It is scanned", self._scan),
            ("The flaw becomes critical while the image runs", self._rate),
            ("The workload stops", self._stop),
            ("It is deployed again", self._deploy),
            ("It is pushed again", self._push_again),
            ("A waiver is given", self._waive),
            ("The restore is over", self._restored),
            ("The waiver expires", self._expire),
            ("A person releases it against the verdict", self._release),
            ("The release is undone", self._undo),
            ("The audit log is proven", self._prove),
        )

    def __len__(self) -> int:
        return len(self.scenes)

    def play(self) -> Iterator[Step]:
        """Yields each step when it was played, and goes on after a failed expectation."""
        for number, (title, scene) in enumerate(self.scenes, 1):
            page = StoryPage(self.world)
            scene(page)
            yield Step(number, title, self.world.now, tuple(page.beats))

    def _policy(self, page: StoryPage) -> None:
        page.happens("A policy is put in force that acts: what is critical and can be fixed is quarantined.")
        page.shows(POLICY_FILE.read_text())
        applied = page.types(
            "policy", "apply", POLICY_FILE.name, "--skip-what-if", "--yes", "--reason", "the story begins"
        )
        self.world.settle()
        page.expects("the policy is in force", applied["changed"] and applied["version"] == 1)

    def _push(self, page: StoryPage) -> None:
        page.happens(f"A pipeline pushes {NAME} to ECR. It is not scanned yet.")
        self.world.push()
        seen = page.looks()
        page.expects("PENDING: not scanned is not clean", seen.decision == "PENDING")
        page.expects("the gate says no", seen.gate_exit_code == 1)
        page.expects("in ECR nothing is touched: it can be pulled", seen.pulled)

    def _scan(self, page: StoryPage) -> None:
        page.happens(f"Amazon Inspector scans it: {FLAW.id} in {FLAW.package}, HIGH; a fixed version is known.")
        self.world.scan()
        seen = page.looks()
        page.expects("WARN, by the rule `high`", seen.decision == "WARN" and "by high:" in seen.reasons[0])
        page.expects("the gate lets it pass", seen.gate_exit_code == 0)
        page.expects("Slack is told what to upgrade", page.sent(f"Upgrade {FLAW.package} to {FLAW.fixed}", "slack"))

    def _rate(self, page: StoryPage) -> None:
        page.happens(f"ECS service {SERVICE} of cluster {CLUSTER} runs it. Inspector rates {FLAW.id} anew: CRITICAL.")
        self.world.deploy()
        self.world.rate(*_CRITICAL)
        seen = page.looks()
        page.expects("QUARANTINE, and the gate says no", (seen.decision, seen.gate_exit_code) == ("QUARANTINE", 1))
        page.expects("a running image is left alone: ECR still gives it", seen.pulled)
        page.expects("it says what defers the act", (seen.held or "").startswith("RUNNING"))
        who = f"ECS service {SERVICE} in cluster {CLUSTER}"
        page.expects("Slack and SNS are told who runs it", page.sent(who, "slack", "sns"))
        page.happens("A quarter of an hour later it is looked up again: it still runs.")
        self.world.wait(RECHECK + A_MINUTE)
        again = page.looks()
        page.expects("still nothing is done, and no alert is sent twice", again.pulled and not page.beats[-1].told)

    def _stop(self, page: StoryPage) -> None:
        scanned_at = self.world.look().scanned_at
        page.happens(
            "The service and its task definition are deleted. At the next look-up nothing runs the image any more."
        )
        self.world.undeploy()
        self.world.wait(RECHECK + A_MINUTE)
        seen = page.looks()
        page.expects("ECR has archived it: it cannot be pulled", seen.storage == "ARCHIVED" and not seen.pulled)
        page.expects("without a new scan", seen.scanned_at == scanned_at)
        page.expects("Slack and SNS are told", page.sent("quarantined (archive)", "slack", "sns"))
        page.happens("Inspector has closed the findings, because the image is archived. An hour passes.")
        page.expects("its findings are closed", set(self.world.findings()) == {"CLOSED"})
        self.world.wait(timedelta(hours=1))
        later = page.looks()
        page.expects("that releases nothing", (later.decision, later.storage) == ("QUARANTINE", "ARCHIVED"))

    def _deploy(self, page: StoryPage) -> None:
        page.happens("A team deploys it again and fails: ECR says that there is no such image.")
        self.world.deploy()
        page.looks()
        page.expects("Slack is told that it was our quarantine", page.sent("quarantine", "slack"))
        page.expects("and the command that would release it", page.sent("lazaretto release", "slack"))
        self.world.undeploy()
        self.world.wait(2 * A_MINUTE)

    def _push_again(self, page: StoryPage) -> None:
        page.happens("The pipeline pushes the same image again. The push takes it out of the archive.")
        self.world.push()
        page.expects("ECR gives it for a moment", self.world.pull())
        seen = page.looks()
        page.expects("it is archived again", seen.storage == "ARCHIVED" and not seen.pulled)
        page.expects("Slack and SNS are told", page.sent("quarantined (archive)", "slack", "sns"))

    def _waive(self, page: StoryPage) -> None:
        page.happens("The security team looks into it and accepts the flaw for two days.")
        # `2d` would count from the real time, and end at another hour of the story's day each time it is played.
        end = (self.world.now + WAIVED_FOR).isoformat(timespec="seconds")
        waiver = page.types(
            *("waive", "--repository", "team/*", "--cve", FLAW.id, "--expires", end),
            *("--reason", "the vulnerable function is not called", "--approved-by", "security@example.com"),
        )
        self._waiver = waiver
        seen = page.looks()
        page.expects("the verdict names the waiver", seen.waived == (self._waiver["id"],))
        page.expects("it is no QUARANTINE any more; the gate opens", seen.gate_exit_code == 0)
        page.expects("ECR restores it, which takes a while: ACTIVATING", seen.storage == "ACTIVATING")
        page.expects("until then it cannot be pulled, and it says so", not seen.pulled and _holds(seen, "RESTORING"))
        page.expects("Slack is told who waived what, and until when", page.sent("security@example.com", "slack"))

    def _restored(self, page: StoryPage) -> None:
        page.happens("Ten minutes later ECR has restored it, and Inspector has scanned it anew.")
        self.world.wait(RESTORE_TAKES + A_MINUTE)
        seen = page.looks()
        page.expects("it can be pulled", seen.storage == "ACTIVE" and seen.pulled)
        page.expects("the flaw is found again", set(self.world.findings()) == {"ACTIVE"})
        named = seen.waived == (self._waiver["id"],)
        page.expects("ALLOW, and the verdict names the waiver", seen.decision == "ALLOW" and named)

    def _expire(self, page: StoryPage) -> None:
        page.happens("Two days pass. The waiver ends by itself.")
        ends_at = datetime.fromisoformat(self._waiver["expires_at"])
        self.world.wait(ends_at - self.world.now)
        seen = page.looks()
        page.expects("QUARANTINE: it excuses nothing any more", seen.decision == "QUARANTINE" and not seen.waived)
        page.expects("archived again", seen.storage == "ARCHIVED" and not seen.pulled)
        page.happens("The clock comes again. One summary tells of each image whose verdict was turned: here of one.")
        self.world.wait(CLOCK_EVERY)
        page.looks()
        page.expects("Slack and SNS are told that the waiver has ended", page.sent("Waiver has ended", "slack", "sns"))
        page.expects("and what was done because of it", page.sent("1 quarantined (archive)", "slack", "sns"))

    def _release(self, page: StoryPage) -> None:
        page.happens("An outage needs the image now. A person takes the responsibility.")
        page.types("release", NAME, "--reason", "outage 4711: roll back to 1.4.0")
        seen = page.looks()
        page.expects("ACTIVATING at once", seen.storage == "ACTIVATING")
        page.happens("Ten minutes later it is restored. Inspector tells of the flaw once more.")
        self.world.wait(RESTORE_TAKES + A_MINUTE)
        self.world.rate(*_CRITICAL)
        seen = page.looks()
        page.expects("it can be pulled, and the next event does not undo it", seen.storage == "ACTIVE" and seen.pulled)
        page.expects(
            "the verdict stays what it is, and the gate closed",
            (seen.decision, seen.gate_exit_code) == ("QUARANTINE", 1),
        )
        page.expects("it shows who ordered it, and why", "outage 4711" in (seen.order or ""))

    def _undo(self, page: StoryPage) -> None:
        page.happens("The outage is over. What the person did is undone, by the id the audit log gives it.")
        done = next((r for r in self._records() if r["kind"] == "RELEASE" and r["actor"].startswith("person:")), None)
        page.expects("the audit log knows the release, and how to undo it", bool(done and done["undo"]))
        if done is not None:
            page.types("undo", done["action_id"], "--reason", "outage 4711 is over")
        seen = page.looks()
        page.expects("archived again", seen.storage == "ARCHIVED" and not seen.pulled)
        page.expects("no order stands any more", seen.order is None)

    def _prove(self, page: StoryPage) -> None:
        page.happens("Every act has one record, bound by hashes to the one before.")
        page.looks()
        proof = page.types("audit", "verify", NAME)
        page.expects(f"its log is whole: {proof['records']} records", proof["whole"] and proof["records"] > len(ACTS))
        acts = [record for record in reversed(self._records()) if record["kind"] in set(ACTS)]
        page.expects("it holds each act once, in order", [record["kind"] for record in acts] == ACTS)
        page.shows("\n".join(f"{r['at'][5:16]}  {r['kind']:10}  {r['actor']:25}  {r['reason']}" for r in acts))

    def _records(self) -> list[dict[str, Any]]:
        """The newest first."""
        records: list[dict[str, Any]] = self.world.type("audit", NAME).answer["records"]
        return records


def _holds(seen: Observed, why: str) -> bool:
    return (seen.held or "").startswith(why)
