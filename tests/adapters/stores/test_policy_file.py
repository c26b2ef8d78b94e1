"""A policy file is read safely, and whatever is wrong has a line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.adapters.stores.policy_file import (
    DEFAULT_POLICY,
    MAX_BYTES,
    default_policy,
    read_policy,
    read_policy_file,
)
from chalicelib.domain.alerts.alert import channels_hearing
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.section import EVENT_WORDS
from chalicelib.errors import PolicyError

RULE = """version: 1
rules:
  - id: a
    match:
      severity: {severity}
    decision: warn
"""


def refusal(text: str | bytes) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        read_policy(text, "p.yaml")
    assert caught.value.file == "p.yaml"
    return caught.value


def test_a_good_file_is_read_with_the_number_it_is_stored_under() -> None:
    policy = read_policy(RULE.format(severity="HIGH"), number=4)
    assert (policy.number, policy.rules[0].id) == (4, "a")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "empty"),
        ("# nothing\n", None, "empty"),
        ("- a\n", 1, "mapping"),
        ("version: 1\nmode: enforce\nmode: observe\n", 3, "twice, first on line 2"),
        ("version: 1\nrules: [\n", 3, "not YAML"),
        ("version: 1\n\tmode: x\n", 2, "not YAML"),
        ("version: 1\n---\nversion: 1\n", 2, "not YAML"),
        ("version: 1\nmode: !!python/object/apply:os.system [x]\n", 2, "tag"),
        ("version: 1\nmode: !secret x\n", 2, "tag"),
        ("version: 1\nhistory_days: !!str 90\n", 2, "tag"),
        ("version: 1\nrules: !!set {a, b}\n", 2, "tag"),
        ("version: 1\nexempt: &e {repository: x}\nstale:\n  <<: *e\n", 4, "merge keys"),
        ("version: 1\n? [a]\n: b\n", 2, "must be a text"),
        ("version: 1\n1: b\n", 2, "must be a text"),
        ("version: " + "9" * 6_000, 1, "not a number"),
        (RULE.format(severity="HIHG"), 5, "did you mean `HIGH`?"),
        (RULE.format(severity="{gt: HIGH}"), 5, "did you mean `gte`?"),
        (RULE.format(severity=""), 5, "got nothing"),
        (RULE.replace("match:", "macth:"), 4, "did you mean `match`?"),
        (RULE.replace("    decision: warn\n", "").format(severity="HIGH"), 3, "needs the key `decision`"),
        (RULE.format(severity="HIGH") + "  - {id: a, match: {kev: true}, decision: block}\n", 7, "earlier rule"),
        (RULE.format(severity="HIGH") + "mod: observe\n", 7, "did you mean `mode`?"),
        ("version: 1\nnotify:\n  - channel: sns\n    events:\n      - verdict\n      - fuze\n", 6, "`fuse`"),
        ("version: 1\nrules:\n  - {id: a, match: {tag: 1.0}, decision: warn}\n", 3, "put it in quotes"),
        ("version: 1\nrules:\n  - {id: a, match: {kev: maybe}, decision: warn}\n", 3, "true or false"),
    ],
)
def test_what_is_wrong_has_a_line(text: str, line: int | None, words: str) -> None:
    error = refusal(text)
    assert words in error.reason
    assert error.line == line


def test_the_message_is_what_an_editor_can_jump_to() -> None:
    assert str(refusal(RULE.format(severity="HIHG"))).startswith(
        "p.yaml:5: rules[0].match.severity: unknown word `HIHG`"
    )


def test_a_date_stays_a_text_so_that_it_can_be_a_tag() -> None:
    text = "version: 1\nrules:\n  - {id: a, match: {tag: 2026-03-01}, decision: warn}\n"
    assert read_policy(text).rules[0].match.tag == "2026-03-01"


def test_an_alias_may_repeat_a_value() -> None:
    text = "version: 1\nexempt: {repository: &mine ['mirror/*']}\nnotify: [{channel: sns, repository: *mine}]\n"
    assert read_policy(text).notify[0].repository == ("mirror/*",)


def test_a_bomb_of_aliases_an_alias_of_itself_and_endless_nesting_are_refused() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30))
    assert "too large" in refusal(bomb).reason
    assert "too large" in refusal("a: &a [*a]").reason
    assert "nested more than" in refusal("a: " + "[" * 100_000).reason


def test_a_file_that_is_too_large_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    assert "larger than" in refusal("#" * (MAX_BYTES + 1)).reason
    not_text = refusal(b"version: 1\nmode: \xff\n")
    assert (not_text.reason, not_text.line) == ("not UTF-8", 2)
    assert "not YAML" in refusal("version: 1\x00").reason
    assert "not UTF-8" in refusal("mode: \ud800").reason
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy_file(tmp_path / "absent.yaml")
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy_file(tmp_path)


@pytest.mark.parametrize("event", EVENT_WORDS)
def test_the_built_in_policy_tells_of_every_event_by_each_channel(event: str) -> None:
    routes = default_policy().notify
    assert set(channels_hearing(routes, event, None, Decision.BLOCK)) == {"slack", "sns"}


def test_the_default_policy_loads_is_read_once_and_explains_every_rule() -> None:
    assert default_policy() is default_policy()
    lines = DEFAULT_POLICY.read_text().splitlines()
    rules = [i for i, line in enumerate(lines) if line.startswith("  - id:")]
    assert len(rules) == len(default_policy().rules)
    assert all(lines[i - 1].startswith("  #") for i in rules)


def test_any_prefix_of_a_policy_loads_or_is_refused() -> None:
    text = DEFAULT_POLICY.read_text()
    for end in range(0, len(text), 23):
        with contextlib.suppress(PolicyError):
            read_policy(text[:end])


@given(
    st.text(max_size=60) | st.text(alphabet="{}[]:,-&*!|>?'\"#%@` \n\tavx01<", max_size=60),
    st.integers(0, 60),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_is_a_policy_or_a_refusal(noise: str, at: int) -> None:
    base = RULE.format(severity="HIGH")
    for text in (noise, base[:at] + noise + base[at:]):
        with contextlib.suppress(PolicyError):
            read_policy(text)
