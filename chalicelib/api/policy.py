"""`GET /v1/policy`: the policy in force."""

from __future__ import annotations

from chalicelib.api.answers import PolicyAnswer
from chalicelib.api.endpoint import Area
from chalicelib.api.query import Query
from chalicelib.api.reads import house

area = Area(__name__)


@area.get("/v1/policy", PolicyAnswer)
def show_policy(query: Query) -> PolicyAnswer:
    """The policy in force and its version, as a policy file would say it, defaults included."""
    rules = house().rules.current()
    return PolicyAnswer(rules.policy_version, rules.waivers_version, rules.policy.document)
