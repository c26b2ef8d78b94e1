"""A policy is read whole or not at all, and says where and why not."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.cli.policy.policy import schema_text
from chalicelib.domain.images.finding import Finding, FixAvailable, Severity
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.domain.images.text import Globs
from chalicelib.domain.images.verdict import Decision, ImageState
from chalicelib.domain.policy.policy import Policy, parse_policy, policy_schema
from chalicelib.domain.policy.section import EVENT_WORDS
from chalicelib.errors import PolicyError

DOCS = Path(__file__).parents[3] / "docs"

DESIGN = {
    "version": 1,
    "mode": "enforce",
    "unknown_severity": "MEDIUM",
    "unscanned": {"after_minutes": 60, "then": "pending"},
    "stale": {"decision": "warn", "after_days": 30},
    "suppressed": "count",
    "exempt": {"repository": ["mirror/*"]},
    "waivers": {"max_days": 90},
    "history_days": 90,
    "sla_days": {"CRITICAL": 7, "HIGH": 30, "MEDIUM": 90},
    "quarantine": {"when_running": "alert", "max_per_hour": 20},
    "rules": [
        {
            "id": "exploited-in-production",
            "description": "A known exploited or likely exploited flaw that can be fixed",
            "match": {
                "repository": ["prod/*", "!prod/sandbox-*"],
                "tag": ["v*", "latest"],
                "severity": {"gte": "HIGH"},
                "fix_available": True,
                "any": [{"kev": True}, {"epss": {"gte": 0.5}}],
                "not": {"package": ["linux-*"]},
            },
            "decision": "quarantine",
        },
        {
            "id": "critical-overdue",
            "match": {"severity": {"gte": "CRITICAL"}, "overdue": True},
            "decision": "block",
            "enforce": "repository-policy",
        },
        {"id": "too-many-high", "match": {"severity": "HIGH"}, "count": {"gte": 10}, "decision": "warn"},
    ],
    "retention": [
        {
            "repository": ["*"],
            "keep": {
                "newest": 20,
                "pulled_within_days": 30,
                "pushed_within_days": 14,
                "tag": ["v*"],
                "newest_per_minor": 3,
            },
            "untagged_after_days": 7,
            "action": "expire",
            "max_share": 0.2,
        }
    ],
    "replication": {"within_minutes": 30, "check": ["digest", "tags", "verdict"]},
    "notify": [
        {"channel": "slack", "min_decision": "warn", "repository": ["prod/*"]},
        {
            "channel": "sns",
            "min_decision": "block",
            "events": ["verdict", "tampering", "replication", "retention", "fuse", "waiver", "restore", "pull-failed"],
        },
    ],
}


def with_rule(**rule: object) -> dict[str, object]:
    return {"version": 1, "rules": [{"id": "a", "match": {"severity": "HIGH"}, "decision": "warn"} | rule]}


def refusal(document: object) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse_policy(document)  # type: ignore[arg-type]
    return caught.value


def test_the_policy_of_the_design_is_read_whole() -> None:
    policy = parse_policy(DESIGN, number=7)
    assert (policy.number, policy.enforcing, policy.asks_kev) == (7, True, True)
    assert [r.decision for r in policy.rules] == [Decision.QUARANTINE, Decision.BLOCK, Decision.WARN]
    assert policy.stale.decision is Decision.WARN
    assert policy.unscanned.decision is Decision.PENDING
    assert [n.min_decision for n in policy.notify] == [Decision.WARN, Decision.BLOCK]
    assert policy.notify[0].events == EVENT_WORDS
    assert policy.sla_days.by_severity == {Severity.CRITICAL: 7, Severity.HIGH: 30, Severity.MEDIUM: 90}


def test_a_policy_says_itself_as_a_file_would_and_reads_itself_back() -> None:
    for policy in (parse_policy(DESIGN), default_policy(), parse_policy({"version": 1})):
        assert parse_policy(json.loads(json.dumps(policy.document))) == policy


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        ({}, "$", "version"),
        ([], "$", "mapping"),
        ({"version": 2}, "version", "unknown word `2`; one of 1"),
        ({"version": True}, "version", "whole number"),
        ({"version": 1, "number": 3}, "number", "unknown key"),
        ({"version": 1, "mod": "observe"}, "mod", "did you mean `mode`?"),
        ({"version": 1, "mode": "enforced"}, "mode", "did you mean `enforce`?"),
        ({"version": 1, "mode": None}, "mode", "got nothing"),
        ({"version": 1, 3: 4}, "$", "must be a text"),
        ({"version": 1, "unknown_severity": "UNKNOWN"}, "unknown_severity", "cannot count as itself"),
        ({"version": 1, "unknown_severity": "MEDIUMM"}, "unknown_severity", "did you mean `MEDIUM`?"),
        ({"version": 1, "sla_days": {"critical": 7}}, "sla_days.critical", "did you mean `CRITICAL`?"),
        ({"version": 1, "sla_days": {"HIGH": 0}}, "sla_days.HIGH", ">= 1"),
        ({"version": 1, "stale": {"decision": "quarantine"}}, "stale.decision", "one of"),
        ({"version": 1, "unscanned": {"then": "blok"}}, "unscanned.then", "did you mean `block`?"),
        ({"version": 1, "unscanned": {"after_minutes": 10**12}}, "unscanned.after_minutes", "<="),
        ({"version": 1, "quarantine": {"method": "move"}}, "quarantine.method", "every quarantine archives"),
        ({"version": 1, "quarantine": {"method": "archive"}}, "quarantine.method", "is gone; remove it"),
        (
            {"version": 1, "quarantine": {"allow_delete": True}},
            "quarantine.allow_delete",
            "repository-policy",
        ),
        ({"version": 1, "quarantine": ["method"]}, "quarantine", "keys and values"),
        ({"version": 1, "notify": [{"channel": "slak"}]}, "notify[0].channel", "did you mean `slack`?"),
        ({"version": 1, "notify": [{"channel": "sns", "events": ["fuze"]}]}, "notify[0].events[0]", "`fuse`"),
        ({"version": 1, "retention": [{"repository": "*", "keep": {}}]}, "retention[0].keep", "keeps nothing"),
        ({"version": 1, "retention": [{"repository": "*"}]}, "retention[0]", "needs the key `keep`"),
        ({"version": 1, "replication": {"check": ["digests"]}}, "replication.check[0]", "did you mean `digest`?"),
        (with_rule(id="stale"), "rules[0]", "Lazaretto's own"),
        (with_rule(id="a b"), "rules[0]", "an id is"),
        (with_rule(id="a\n"), "rules[0]", "an id is"),
        (with_rule(decision="Block"), "rules[0].decision", "did you mean `block`?"),
        (with_rule(decision="pending"), "rules[0].decision", "unknown word"),
        (with_rule(enforce="repository-policy"), "rules[0]", "block or quarantine"),
        (with_rule(count={"gte": "10"}), "rules[0].count.gte", "whole number"),
        (with_rule(count={"eq": 0}), "rules[0].count", "can never hold"),
        (with_rule(match={}), "rules[0].match", "match everything"),
        (with_rule(match={"any": []}), "rules[0].match.any", "length >= 1"),
        (with_rule(match={"all": [{"kev": True}, {}]}), "rules[0].match.all[1]", "match everything"),
        (with_rule(match={"sevrity": "HIGH"}), "rules[0].match.sevrity", "did you mean `severity`?"),
        (with_rule(match={"severity": "HIHG"}), "rules[0].match.severity", "did you mean `HIGH`?"),
        (with_rule(match={"severity": "critical"}), "rules[0].match.severity", "did you mean `CRITICAL`?"),
        (with_rule(match={"severity": {"gt": "HIGH"}}), "rules[0].match.severity.gt", "did you mean `gte`?"),
        (with_rule(match={"severity": {"gte": "UNKNOWN"}}), "rules[0].match.severity", "has no rank"),
        (with_rule(match={"severity": {}}), "rules[0].match.severity", "at least one of gte, eq, in"),
        (with_rule(match={"kev": None}), "rules[0].match.kev", "expected true or false, got nothing"),
        (with_rule(match={"kev": "true"}), "rules[0].match.kev", "expected true or false, got a text"),
        (with_rule(match={"epss": {"gte": 50}}), "rules[0].match.epss.gte", "<= 1"),
        (with_rule(match={"epss": {"gte": float("nan")}}), "rules[0].match.epss.gte", ">="),
        (with_rule(match={"score": {"lt": float("inf")}}), "rules[0].match.score.lt", "<= 10"),
        (with_rule(match={"epss": 0.5}), "rules[0].match.epss", "it takes gte, gt, lte, lt, eq"),
        (with_rule(match={"age_days": {"gte": 1.5}}), "rules[0].match.age_days.gte", "whole number"),
        (with_rule(match={"tag": 1.0}), "rules[0].match.tag", "put it in quotes"),
        (with_rule(match={"tag": [""]}), "rules[0].match.tag[0]", "length >= 1"),
        (with_rule(match={"in_use": "unknwon"}), "rules[0].match.in_use", "did you mean `unknown`?"),
        (with_rule(match={"count": {"gte": 3}}), "rules[0].match.count", "belongs one level up"),
        (with_rule(match={"any": [{"not": {"kevv": True}}]}), "rules[0].match.any[0].not.kevv", "did you mean `kev`?"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path_and_the_nearest_right_name(
    document: object, path: str, words: str
) -> None:
    error = refusal(document)
    assert error.path == path
    assert words in error.reason


def test_two_rules_of_one_id_are_refused() -> None:
    rule = {"id": "a", "match": {"kev": True}, "decision": "warn"}
    error = refusal({"version": 1, "rules": [rule, rule]})
    assert error.path == "rules[1].id"


def test_a_policy_nested_without_end_is_refused() -> None:
    match: dict[str, object] = {"kev": True}
    for _ in range(5_000):
        match = {"not": match}
    assert "nested more than" in refusal(with_rule(match=match)).reason


def test_globs_exclude_and_hostile_globs_cost_no_time() -> None:
    assert Globs(["prod/*", "!prod/sandbox-*"]).match("prod/team/api")
    assert not Globs(["prod/*", "!prod/sandbox-*"]).match("prod/sandbox-1")
    assert Globs("!dev").match("anything")
    assert not Globs("!dev").match("dev")
    assert Globs("a[b]?").match("a[b]c")
    assert not Globs("a[b]?").match("abc")
    assert not Globs("prod").match("prod/api")
    assert not Globs("*a" * 100 + "b").match("a" * 5_000)


REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "0" * 64)


def finding(**changes: object) -> Finding:
    base = Finding("CVE-2024-1", Severity.HIGH, "HIGH", Source.ENHANCED, "f-1")
    return Finding(**{f: getattr(base, f) for f in Finding.__struct_fields__} | changes)  # type: ignore[arg-type]


def test_kev_is_asked_only_where_it_can_decide() -> None:
    policy = parse_policy(
        with_rule(match={"kev": True, "severity": {"gte": "HIGH"}, "fix_available": True, "repository": "prod/*"})
    )
    fixable = finding(fix_available=FixAvailable.YES)
    assert policy.asks(fixable, ImageState(REF))
    assert policy.asks(fixable)
    assert not policy.asks(finding(fix_available=FixAvailable.NO))
    assert not policy.asks(finding(severity=Severity.LOW, fix_available=FixAvailable.YES))
    elsewhere = ImageState(ImageRef("111122223333", "eu-west-1", "dev/api", REF.digest))
    assert not policy.asks(fixable, elsewhere)
    assert not parse_policy(with_rule(match={"severity": "HIGH"})).asks_kev


def test_kev_is_asked_where_a_deadline_may_make_it_matter_later() -> None:
    policy = parse_policy(with_rule(match={"kev": True, "age_days": {"gte": 30}}))
    assert policy.asks(finding())
    assert policy.asks(finding(), ImageState(REF))
    negated = parse_policy(with_rule(match={"not": {"kev": False}, "severity": "HIGH"}))
    assert negated.asks(finding())
    assert not negated.asks(finding(severity=Severity.LOW))


def test_a_policy_without_rules_asks_nothing() -> None:
    assert not Policy(version=1).asks_kev


def test_a_public_repository_is_published_from_its_own_name_unless_the_policy_says_from_where() -> None:
    web, away = ImageRef("111122223333", "eu-west-1", "web", REF.digest), "999988887777"
    said = parse_policy({"version": 1, "public": [{"public": "web", "from": ["team/web"], "registry": away}]})
    for policy, name, account, origin in (
        (Policy(version=1), "web", "111122223333", True),
        (Policy(version=1), "web", away, False),
        (Policy(version=1), "team/web", away, False),
        (said, "web", away, False),
        (said, "team/web", away, True),
        (said, "team/web", "111122223333", False),
    ):
        image = msgspec.structs.replace(web, repository=name, registry=account)
        assert policy.publication_of("web", "111122223333").is_from(image) is origin
        assert not policy.publication_of("web", "").is_from(msgspec.structs.replace(image, registry=""))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([{"public": "web", "from": ["team/*"]}], "no name of a repository"),
        ([{"public": "public.ecr.aws/acme/web:1", "from": ["web"]}], "no name of a repository"),
        ([{"public": "web", "from": ["web"], "registry": "acme"}], "account of 12 digits"),
        ([{"public": "web", "from": []}], "from"),
        ([{"public": "web", "from": ["a"]}, {"public": "web", "from": ["b"]}], "has an earlier entry already"),
    ],
)
def test_an_origin_that_names_no_repository_or_is_named_twice_is_refused(said: object, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        parse_policy({"version": 1, "public": said})


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert (DOCS / "policy.schema.json").read_text() == schema_text()


def test_the_schema_accepts_the_policies_that_load_and_refuses_an_unknown_key() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(policy_schema())
    for document in (DESIGN, default_policy().document):
        assert list(check.iter_errors(document)) == []
    for document in (with_rule(match={"sevrity": "HIGH"}), with_rule(decision="Block"), {"version": 2}):
        assert list(check.iter_errors(document))


def test_every_key_of_the_schema_is_named_in_the_documentation() -> None:
    text = (DOCS / "policy.md").read_text()
    keys = {key for part in policy_schema()["$defs"].values() for key in part.get("properties", {})}
    assert len(keys) > 60
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


def test_every_event_word_is_named_in_the_documentation() -> None:
    text = (DOCS / "policy.md").read_text()
    assert [word for word in EVENT_WORDS if f"`{word}`" not in text] == []


def test_the_default_policy_acts_on_nothing() -> None:
    policy = default_policy()
    assert (policy.mode, policy.number, policy.retention) == ("observe", 0, ())
    assert policy.quarantine.when_running == "alert"
