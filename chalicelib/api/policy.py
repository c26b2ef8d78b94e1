"""`GET /v1/policy`: the policy in force."""

from __future__ import annotations

from chalicelib.api.answers.answers import PolicyAnswer
from chalicelib.api.framework.context import context
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Query

area = RouteGroup(__name__)


@area.get("/v1/policy", PolicyAnswer)
def show_policy(query: Query) -> PolicyAnswer:
    """The policy in force and its version, as a policy file would say it, defaults included.

    Version 0 is the policy that came with the bundle: nobody has put it.
    """
    book = context().rules
    rules = book.current()
    put = book.read_policy(rules.policy_version) if rules.policy_version else None
    return PolicyAnswer(
        version=rules.policy_version,
        waivers_version=rules.waivers_version,
        put_at=None if put is None else put.put_at,
        put_by=None if put is None else put.put_by,
        policy=rules.policy.document,
    )
