"""Repository policies as people write them, in every form IAM allows and some that nobody expects."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

ROLE = "arn:aws:iam::111122223333:role/lazaretto-on-actions"
_WORDS = st.text('abcXYZ019*:/-éß"\\', max_size=12)
_NAMES = st.text("ABCdef019", min_size=1, max_size=8)
_ARNS = st.sampled_from(
    ["arn:aws:iam::111122223333:root", "arn:aws:iam::444455556666:role/ci", "arn:aws:iam::444455556666:user/u", "*"]
)
_ACTIONS = st.sampled_from(
    ["ecr:*", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:PutImage", "ecr:Describe*"]
)
_PLAIN = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
_UNKNOWN = st.recursive(
    _PLAIN | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
_CONDITIONS = st.dictionaries(
    st.sampled_from(["StringEquals", "ArnNotLike", "Bool", "NumericLessThan", "ForAnyValue:StringLike", "Null"]),
    st.dictionaries(
        st.sampled_from(["aws:PrincipalArn", "aws:SourceVpc", "aws:PrincipalOrgID", "ecr:ResourceTag/team"]),
        _WORDS | st.booleans() | st.integers(0, 9) | st.lists(_WORDS, max_size=3),
        min_size=1,
        max_size=2,
    ),
    max_size=2,
)


def statement(sid: str, **changes: Any) -> dict[str, Any]:
    principal = {"AWS": "arn:aws:iam::444455556666:root"}
    return {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": ["ecr:BatchGetImage"], **changes}


def _one_or_more(values: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=4)


@st.composite
def statements(draw: st.DrawFn) -> dict[str, Any]:
    """One of somebody else's: members in any order."""
    principal = st.just("*") | st.dictionaries(
        st.sampled_from(["AWS", "Service", "Federated"]), _one_or_more(_ARNS), min_size=1, max_size=2
    )
    members = {
        draw(st.sampled_from(["Principal", "NotPrincipal"])): draw(principal),
        draw(st.sampled_from(["Action", "NotAction"])): draw(_one_or_more(_ACTIONS)),
        "Effect": draw(st.sampled_from(["Allow", "Deny"])),
    }
    if draw(st.booleans()):
        members["Sid"] = draw(_NAMES)
    if draw(st.booleans()):
        members["Condition"] = draw(_CONDITIONS)
    members |= {f"X{name}": value for name, value in draw(st.dictionaries(_NAMES, _UNKNOWN, max_size=2)).items()}
    return dict(draw(st.permutations(list(members.items()))))


@st.composite
def policy_text(draw: st.DrawFn) -> str:
    """A whole policy as ECR may have it; never with our statement."""
    held = draw(st.lists(statements(), min_size=1, max_size=4))
    members: dict[str, Any] = {"Statement": held[0] if len(held) == 1 and draw(st.booleans()) else held}
    if draw(st.booleans()):
        members["Version"] = draw(st.sampled_from(["2008-10-17", "2012-10-17"]))
    members |= {f"X{name}": value for name, value in draw(st.dictionaries(_NAMES, _UNKNOWN, max_size=2)).items()}
    members = dict(draw(st.permutations(list(members.items()))))
    indent = draw(st.sampled_from([None, 2]))
    return json.dumps(members, indent=indent, ensure_ascii=draw(st.booleans()))
