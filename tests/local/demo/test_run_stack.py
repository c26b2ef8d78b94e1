"""What `lazaretto run` prints to try next has an answer, whatever was played."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from chalicelib.local import events as aws_events
from chalicelib.local.demo.payloads import PayloadFolder, play_payloads
from chalicelib.local.demo.run_stack import ALWAYS, HURRY_SECONDS, calls_about
from tests.local import samples
from tests.local.running import local_stack

IMAGE = samples.ref()


def test_every_call_about_a_played_folder_is_answered(tmp_path: Path) -> None:
    (tmp_path / "findings.json").write_text(json.dumps({"findings": [samples.row(IMAGE, n) for n in range(3)]}))
    gone = samples.ref("team/gone", "f")
    event = aws_events.basic_scan_finished(gone, [], "COMPLETE", {"HIGH": 1}, samples.SCANNED)
    (tmp_path / "event.json").write_text(json.dumps(event))
    with local_stack(api_port=0, hurry=HURRY_SECONDS) as stack:
        assert calls_about(stack, []) == ALWAYS
        played = play_payloads(stack, PayloadFolder(tmp_path))
        calls = calls_about(stack, played.refs)
        assert len(calls) == 5
        for call in calls:
            with urllib.request.urlopen(f"{stack.api_url.rstrip('/')}{call}", timeout=10) as answer:
                assert answer.status == 200, call
