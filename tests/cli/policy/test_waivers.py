"""`lazaretto waive`, `waivers`, `unwaive` as a person uses them, against an API over a house in memory."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.cli.framework.options import read_end
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.waivers.change import renew_command, unwaive_command, waive_command
from chalicelib.errors import ConflictError, InputError, UpstreamError
from tests.cli.conftest import Run
from tests.fakes.images import finding, image
from tests.fakes.queries import FakeContext

GIVE = ("waive", "--repository", "team/*", "--vulnerability", "CVE-2026-0001", "--approved-by", "platform security")
FULL = (*GIVE, "--reason", "not reachable", "--expires", "30d")


@pytest.fixture
def run(run: Run) -> Run:
    """The registry here is empty; what is in no image is waived all the same."""
    return lambda *words: run(*words, *(["--allow-unmatched"] if words[0] == "waive" else []))


@pytest.fixture(autouse=True)
def _today(context: FakeContext) -> None:
    """The command line counts days from the real now."""
    context.clock.at = datetime.now(UTC)


def only(context: FakeContext) -> Any:
    (waiver,) = context.waivers.read()
    return waiver


def test_a_waiver_is_given(run: Run, context: FakeContext) -> None:
    result = run(*FULL)
    assert result.exit_code == 0, result.stderr
    waiver = only(context)
    assert f"{waiver.id} given: CVE-2026-0001 in team/*" in result.stdout
    assert timedelta(days=30) - (waiver.expires_at - context.clock.at) < timedelta(minutes=2)


def test_before_it_is_given_a_person_sees_what_it_touches_and_is_asked(
    run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.queries.add(image(1, Decision.BLOCK), [finding(1)])
    planned = run(*FULL, "--dry-run")
    assert "it touches 1 image and 1 finding of them" in planned.stdout
    monkeypatch.setattr("chalicelib.cli.framework.output.is_interactive", lambda: True)
    monkeypatch.setattr("chalicelib.cli.framework.output.typer.confirm", lambda *_, **__: False)
    refused = run(*FULL)
    assert (refused.exit_code, context.waivers.read()) == (2, ())
    assert "It touches 1 image and 1 finding of them" in refused.stderr
    assert run(*FULL, "--yes", "--even-if-exploited").exit_code == 0
    assert only(context).even_if_exploited


def test_the_longest_the_policy_allows_can_be_said_in_days(run: Run, context: FakeContext) -> None:
    assert run(*GIVE, "--reason", "x", "--expires", "90d").exit_code == 0
    assert run(*GIVE, "--reason", "x", "--expires", "92d").exit_code == 2


def test_all_words_arrive(run: Run, context: FakeContext) -> None:
    vex = ("--status", "not_affected", "--justification", "component_not_present")
    said = json.loads(run(*FULL, "--package", "lib*", *vex, "--json").stdout)
    assert (said["package"], said["status"], said["justification"]) == ("lib*", vex[1], vex[3])
    assert said["id"] == only(context).id


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((*GIVE, "--expires", "30d"), "--reason: must be given"),
        ((*FULL[:5], "--reason", "x", "--expires", "30d"), "--approved-by: must be given"),
        ((*GIVE, "--reason", "x"), "--expires: say until when"),
        ((*GIVE, "--reason", "x", "--expires", "tomorrow"), "--expires: say 30d"),
        ((*GIVE, "--reason", "x", "--expires", "2026-12-31T00:00:00"), "needs its offset"),
        ((*GIVE, "--reason", "x", "--expires", "2020-01-01"), "expires_at: must be in the future"),
        ((*FULL, "--rule", "nonsense"), "rule: the policy in force has no such rule"),
        ((*FULL, "--status", "fine"), "unknown word `fine`"),
        ((*FULL, "--renew", "w-0123456789", "--import", "x"), "--import: a file is not renewed"),
    ],
)
def test_what_is_wrong_is_bad_input(run: Run, context: FakeContext, arguments: tuple[str, ...], complaint: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, context.waivers.read()) == (2, ())
    assert complaint in result.stderr


def test_reason_and_approver_are_asked_for_where_somebody_can_answer(
    run: Run, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def prompt(question: str, **_: Any) -> str:
        asked.append(question)
        return f"an answer to {question}"

    monkeypatch.setattr("chalicelib.cli.framework.output.is_interactive", lambda: True)
    monkeypatch.setattr("chalicelib.cli.policy.waivers.typer.prompt", prompt)
    assert run(*GIVE[:5], "--expires", "30d", "--yes").exit_code == 0
    assert asked == ["Reason", "Approved by"]
    assert only(context).reason == "an answer to Reason"


def test_waivers_are_listed_and_filtered(run: Run, context: FakeContext) -> None:
    assert "no waivers match" in run("waivers").stdout
    run(*FULL)
    run(*GIVE[:4], "CVE-2026-0002", *GIVE[5:], "--reason", "x" * 300, "--expires", "3d", "--package", "openssl")
    listed = run("waivers").stdout
    assert "2 waivers" in listed
    assert listed.index("CVE-2026-0002") < listed.index("CVE-2026-0001 in")
    assert max(len(line) for line in listed.splitlines()) <= 100
    assert "1 waiver" in run("waivers", "--state", "expiring").stdout
    said = json.loads(run("waivers", "--vulnerability", "CVE-2026-0001", "--json").stdout)
    assert [w["vulnerability_id"] for w in said["waivers"]] == ["CVE-2026-0001"]
    assert "There are more" in run("waivers", "--limit", "1").stdout
    assert run("waivers", "--state", "over").exit_code == 2


def test_a_waiver_is_ended_with_a_reason(run: Run, context: FakeContext) -> None:
    run(*FULL)
    name = only(context).id
    assert run("unwaive", name).exit_code == 2
    result = run("unwaive", name, "--reason", "fixed")
    assert (result.exit_code, context.waivers.read()) == (0, ())
    assert f"{name} ended: CVE-2026-0001 in team/*" in result.stdout
    assert run("unwaive", name, "--reason", "fixed").exit_code == 1
    assert run("unwaive", "CVE-2026-0001", "--reason", "fixed").exit_code == 2


def test_a_waiver_is_renewed_with_what_it_said(run: Run, context: FakeContext) -> None:
    run(*FULL, "--package", "openssl")
    former = only(context)
    context.clock.at += timedelta(minutes=1)
    assert run("waive", "--renew", former.id, "--expires", "60d").exit_code == 2
    assert run("waive", "--renew", former.id, "--expires", "60d", "--approved-by", "the owner").exit_code == 0
    renewed = only(context)
    assert (renewed.id, renewed.reason, renewed.package) == (former.id, former.reason, "openssl")
    assert (renewed.approved_by, renewed.expires_at > former.expires_at) == ("the owner", True)
    assert run("waive", "--renew", former.id, "--expires", "9d", "--package", "zlib").exit_code == 2
    assert run("waive", "--renew", "w-0000000000", "--expires", "9d", "--approved-by", "x").exit_code == 1


def test_the_commands_of_alerts_and_of_the_audit_log_can_be_pasted(run: Run, context: FakeContext) -> None:
    import shlex

    run(*FULL, "--reason", """it's "fine" & $safe; `x`""")
    waiver = only(context)
    assert run(*shlex.split(unwaive_command(waiver.id, "undone"))[1:]).exit_code == 0
    assert run(*shlex.split(waive_command(waiver))[1:]).exit_code == 0
    assert only(context).says_as(waiver)
    renew = shlex.split(renew_command(waiver.id, 30))[1:]
    assert run(*renew, "--approved-by", "the owner").exit_code == 0


def test_waivers_go_out_as_vex_and_come_back_the_same(run: Run, context: FakeContext, tmp_path: Path) -> None:
    run(*FULL)
    run("waive", "--repository", "prod/api", "--rule", "exploited", *FULL[5:])
    before = context.waivers.read()
    file = tmp_path / "vex.json"
    assert run("waivers", "--export", file).exit_code == 0
    assert run("waivers", "--export", "-").stdout.startswith("{")
    context.waivers.stored.clear()
    result = run("waive", "--import", file)
    assert "2 waivers given, 0 refused, 0 left out." in result.stdout
    after = context.waivers.read()
    assert len(before) == len(after) == 2
    assert all(a.says_as(b) for a, b in zip(before, after, strict=True))


def test_before_a_file_is_given_a_person_sees_what_it_touches_and_is_asked(
    run: Run, context: FakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.queries.add(image(1, Decision.BLOCK), [finding(1)])
    run(*FULL, "--even-if-exploited")
    file = tmp_path / "vex.json"
    assert run("waivers", "--export", file).exit_code == 0
    context.waivers.stored.clear()
    planned = " ".join(run("waive", "--import", file, "--dry-run").stdout.split())
    assert "the file touches 1 image and 1 finding of them" in planned
    assert "1 waiver to be given, 0 refused" in planned
    monkeypatch.setattr("chalicelib.cli.framework.output.is_interactive", lambda: True)
    monkeypatch.setattr("chalicelib.cli.framework.output.typer.confirm", lambda *_, **__: False)
    assert (run("waive", "--import", file).exit_code, context.waivers.read()) == (2, ())
    assert run("waive", "--import", file, "--yes").exit_code == 0
    assert only(context).even_if_exploited


def test_others_vex_needs_repository_approver_and_end(run: Run, context: FakeContext, tmp_path: Path) -> None:
    def entry(number: int, **analysis: str) -> dict[str, object]:
        return {"id": f"CVE-2026-000{number}", "analysis": analysis, "affects": [{"ref": "pkg:npm/left-pad"}]}

    entries = [
        entry(1, state="not_affected", justification="code_not_reachable", detail="dead code"),
        entry(2, state="not_affected"),
        entry(3, state="exploitable"),
        entry(4, state="in_triage"),
        {"id": "CVE-2026-0005"},
    ]
    file = tmp_path / "vex.json"
    file.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "vulnerabilities": entries}))
    result = run("waive", "--import", file)
    assert (result.exit_code, context.waivers.read()) == (2, ())
    assert "$.vulnerabilities[0]: --repository: the document does not say it" in result.stderr
    more = ("--repository", "prod/api", "--approved-by", "the owner", "--expires", "30d")
    said = json.loads(run("waive", "--import", file, *more, "--json").stdout)
    assert (len(said["waivers"]), said["refused"], said["left_out"]) == (2, 0, 3)
    by_id = {w.vulnerability_id: w for w in context.waivers.read()}
    assert (by_id["CVE-2026-0001"].status, by_id["CVE-2026-0001"].reason) == ("not_affected", "dead code")
    assert {w.package for w in context.waivers.read()} == {"left-pad"}
    assert (by_id["CVE-2026-0002"].status, by_id["CVE-2026-0002"].reason) == (None, "CycloneDX VEX: not_affected")


def test_one_waiver_of_a_file_that_is_refused_stops_no_other(run: Run, context: FakeContext, tmp_path: Path) -> None:
    run(*FULL)
    file = tmp_path / "vex.json"
    run("waivers", "--export", file)
    document = json.loads(file.read_text())
    bad = json.loads(json.dumps(document["vulnerabilities"][0]).replace("CVE-2026-0001", "CVE *"))
    document["vulnerabilities"] = [bad, *document["vulnerabilities"]]
    file.write_text(json.dumps(document))
    context.waivers.stored.clear()
    result = run("waive", "--import", file)
    assert (result.exit_code, len(context.waivers.read())) == (2, 1)
    assert "$.vulnerabilities[0]: vulnerability_id: must be a vulnerability's id" in result.stderr


NOT_AFFECTED = {"state": "not_affected", "justification": "code_not_reachable"}
SAID = ("--repository", "prod/api", "--approved-by", "the owner", "--expires", "30d")


def others(path: Path, *entries: dict[str, Any], **more: Any) -> Path:
    listed = [{"id": f"CVE-2026-{n:04}", "analysis": NOT_AFFECTED, **entry} for n, entry in enumerate(entries, 1)]
    said = {"bomFormat": "CycloneDX", "specVersion": "1.5", "vulnerabilities": listed, **more}
    (file := path / "others.json").write_text(json.dumps(said))
    return file


def test_others_vex_excuses_the_packages_it_names_and_no_other(run: Run, context: FakeContext, tmp_path: Path) -> None:
    named = {"affects": [{"ref": "a"}, {"ref": "pkg:maven/org.example/lib@1"}]}
    library = {"type": "library", "bom-ref": "a", "name": "a", "purl": "pkg:deb/debian/libfoo@1"}
    file = others(tmp_path, named, {"affects": [{"ref": "a"}, {"ref": "gone"}]}, {}, components=[library])
    result = run("waive", "--import", file, *SAID)
    assert result.exit_code == 2
    assert "2 waivers given, 2 refused, 0 left out." in result.stdout
    assert {(w.vulnerability_id, w.package) for w in context.waivers.read()} == {
        ("CVE-2026-0001", "libfoo"),
        ("CVE-2026-0001", "org.example:lib"),
    }
    assert "$.vulnerabilities[1]: affects gone, which is no package of the document: say --package" in result.stderr
    assert "$.vulnerabilities[2]: does not say which packages it affects: say --package" in result.stderr


@pytest.mark.parametrize(("option", "package"), [(("--package", "lib*"), "lib*"), (("--any-package",), None)])
def test_that_others_vex_holds_for_other_packages_must_be_said(
    run: Run, context: FakeContext, tmp_path: Path, option: tuple[str, ...], package: str | None
) -> None:
    file = others(tmp_path, {"affects": [{"ref": "gone"}, {"ref": "pkg:npm/left-pad"}]})
    assert run("waive", "--import", file, *SAID, *option).exit_code == 0
    assert only(context).package == package


@pytest.mark.parametrize(
    "arguments", [(*FULL, "--any-package"), ("waive", "--import", "-", "--any-package", "--package", "x")]
)
def test_any_package_belongs_to_a_file(run: Run, context: FakeContext, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, context.waivers.read()) == (2, ())
    assert "--any-package: belongs to --import without --package" in result.stderr


def test_others_cannot_say_where_by_whom_and_until_when(run: Run, context: FakeContext, tmp_path: Path) -> None:
    end = (context.clock.at + timedelta(days=80)).isoformat()
    claims = {"repository": "*", "approved_by": "us", "expires_at": end, "package": "*"}
    properties = [{"name": f"lazaretto:{name}", "value": value} for name, value in claims.items()]
    entry = {"properties": properties, "affects": [{"ref": "pkg:npm/left-pad"}]}
    file = others(tmp_path, entry, {**entry, "analysis": {"state": "exploitable"}})
    result = run("waive", "--import", file)
    assert (result.exit_code, context.waivers.read()) == (2, ())
    assert "--repository: the document does not say it" in result.stderr
    assert "1 waiver given, 0 refused, 1 left out." in run("waive", "--import", file, *SAID).stdout
    one = only(context)
    assert (one.repository, one.approved_by, one.package) == ("prod/api", "the owner", "left-pad")
    assert one.expires_at < context.clock.at + timedelta(days=31)


def test_others_entry_without_an_id_excuses_no_whole_rule(run: Run, context: FakeContext, tmp_path: Path) -> None:
    file = others(tmp_path, {"id": None})
    result = run("waive", "--import", file, *SAID, "--rule", "exploited", "--any-package")
    assert (result.exit_code, context.waivers.read()) == (2, ())
    assert "$.vulnerabilities[0]: names no vulnerability" in result.stderr


def test_what_is_over_is_not_written_and_what_ended_since_is_left_out(
    run: Run, context: FakeContext, tmp_path: Path
) -> None:
    run(*FULL)
    over = msgspec.structs.replace(only(context), id="w-0000000000", expires_at=datetime.now(UTC) - timedelta(hours=1))
    file = tmp_path / "vex.json"
    run("waivers", "--export", file)
    context.waivers.stored[over.id] = over
    kept = tmp_path / "kept.json"
    assert "1 waiver, without 1 over" in run("waivers", "--export", kept).stderr
    assert run("waive", "--import", kept).exit_code == 0
    file.write_text(re.sub(r'"value": "20[^"]*"', '"value": "2026-03-10T12:00:00Z"', file.read_text()))
    old = run("waive", "--import", file)
    assert (old.exit_code, "0 waivers given, 0 refused, 1 left out." in old.stdout) == (0, True)


def test_one_waiver_of_a_file_that_fails_stops_no_other_and_is_named_at_the_end(
    run: Run, context: FakeContext, tmp_path: Path
) -> None:
    file = others(tmp_path, *[{"affects": [{"ref": "pkg:npm/left-pad"}]}] * 3)
    put = context.waivers.put

    def busy(change: Any) -> Any:
        if change.subject.vulnerability_id == "CVE-2026-0002":
            raise ConflictError("faster")
        return put(change)

    context.waivers.put = busy  # type: ignore[method-assign]
    result = run("waive", "--import", file, *SAID)
    assert result.exit_code == 1
    assert {w.vulnerability_id for w in context.waivers.read()} == {"CVE-2026-0001", "CVE-2026-0003"}
    assert "2 waivers given, 0 refused, 0 left out." in result.stdout
    assert "Not given, give the file once more: $.vulnerabilities[1]." in result.stdout
    assert "$.vulnerabilities[1]: others change this waiver at the same moment; try again" in result.stderr
    said = json.loads(run("waive", "--import", file, *SAID, "--json").stdout)
    assert (len(said["waivers"]), said["failed"]) == (2, ["$.vulnerabilities[1]"])
    context.waivers.put = put  # type: ignore[method-assign]
    assert run("waive", "--import", file, *SAID).exit_code == 0


def test_where_nobody_answers_the_rest_of_a_file_is_not_tried(run: Run, context: FakeContext, tmp_path: Path) -> None:
    file = others(tmp_path, *[{"affects": [{"ref": "pkg:npm/left-pad"}]}] * 5)
    tried: list[str] = []

    def down(change: Any) -> Any:
        tried.append(change.subject.vulnerability_id)
        raise UpstreamError("no")

    context.waivers.put = down  # type: ignore[method-assign]
    result = run("waive", "--import", file, *SAID, "--json")
    assert (result.exit_code, len(tried)) == (1, 3)
    assert json.loads(result.stdout)["failed"] == [f"$.vulnerabilities[{n}]" for n in range(5)]


def test_an_id_in_small_letters_excuses_what_is_meant(run: Run, context: FakeContext) -> None:
    assert run(*GIVE[:4], "cve-2026-0001", *GIVE[5:], "--reason", "x", "--expires", "3d").exit_code == 0
    assert only(context).vulnerability_id == "CVE-2026-0001"
    assert "1 waiver" in run("waivers", "--cve", "cve-2026-0001").stdout


def test_the_gate_opens_until_the_waivers_last_second_and_not_at_its_end(run: Run, context: FakeContext) -> None:
    """The stored verdict still says ALLOW: nobody has decided the image again yet."""
    run(*FULL)
    one = only(context)
    verdict = Verdict(Decision.ALLOW, (Reason("high", Decision.ALLOW, waived=(one.id,)),), 3, context.clock.at)
    context.queries.add(image(1, verdict=verdict), [finding(1)])
    rule = {"id": "high", "match": {"severity": {"gte": "HIGH"}}, "decision": "block"}
    context.rules.rules = Rules(parse_policy({"version": 1, "rules": [rule]}), (one,), 3, 1)
    context.clock.at = one.expires_at - timedelta(seconds=1)
    assert (run("gate", "team/api:v1").exit_code, run("image", "team/api:v1").exit_code) == (0, 0)
    context.clock.at = one.expires_at
    closed = run("gate", "team/api:v1", "--json")
    assert (closed.exit_code, json.loads(closed.stdout)["decision"]) == (1, "BLOCK")
    assert json.loads(run("image", "team/api:v1", "--json").stdout)["verdict"]["decision"] == "BLOCK"


def test_files_that_cannot_be_are_bad_input(run: Run, context: FakeContext, tmp_path: Path) -> None:
    assert run("waive", "--import", tmp_path / "absent").exit_code == 2
    assert run("waivers", "--export", tmp_path / "no" / "such").exit_code == 2
    (tmp_path / "x").write_text("{}")
    assert run("waive", "--import", tmp_path / "x").exit_code == 2


NOW = datetime(2026, 3, 10, 12, 34, 56, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("30d", "2026-04-09T12:34:00+00:00"),
        ("2026-12-31", "2026-12-31T00:00:00+00:00"),
        ("2026-12-31T10:00:00Z", "2026-12-31T10:00:00+00:00"),
        ("2026-12-31T10:00:00+02:00", "2026-12-31T10:00:00+02:00"),
    ],
)
def test_an_end_is_said_in_days_as_a_date_or_a_time(text: str, end: str) -> None:
    assert read_end(text, NOW, "--expires") == end


@pytest.mark.parametrize("text", ["", "d", "30", "-3d", "99999d", "2026-02-30", "soon", "2026-12-31T10:00:00"])
def test_what_is_no_end_is_refused(text: str) -> None:
    if text == "99999d":
        assert read_end(text, NOW, "--expires").startswith("2299")
        return
    with pytest.raises(InputError):
        read_end(text, NOW, "--expires")


def test_the_commands_do_not_load_the_cyclonedx_library_for_nothing() -> None:
    import subprocess

    code = "import sys, chalicelib.cli; print('cyclonedx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
