"""ECR's pull-through cache: a pull by a tag that a rule covers fetches the image from its upstream, and asks there
again at the first pull after a day. moto knows none.

The upstreams are here as well: what each has, and which of them fail. ECR does not publish whether it fetches an
archived image again, which restores it (`restores`: here it does), whether it tells of a push besides (here it does),
and its failure codes (invented).
Sources: Amazon ECR user guide, "Sync an upstream registry with an Amazon ECR private registry" and "Amazon ECR events
and EventBridge"; aws/containers-roadmap#2837 (a digest that is not cached is not fetched).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from moto.core.responses import ActionResult
from moto.ecr.exceptions import (
    ImageAlreadyExistsException,
    InvalidParameterException,
    LimitExceededException,
)
from moto.ecr.responses import ECRResponse

from chalicelib.domain.images.image import Repository
from chalicelib.local import events as aws_events
from chalicelib.local.ecr.ecr import ACTIVE, EcrRefusal, HeldImage, LocalEcr, children_of
from chalicelib.local.ecr.template_answers import MOST_ROWS, ROWS, checked_prefix
from chalicelib.local.ecr.templates import PULL_THROUGH_CACHE, ROOT, Row, longest_prefix
from chalicelib.local.pages import PlainAnswer, page_of

ASKED_AGAIN = timedelta(hours=24)
MOST_RULES = 50
LONGEST_PREFIX, LONGEST_SECRET = 30, 612
_RULES = "cache_rules"
_REGISTRIES = {
    r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com": "ecr",
    r"public\.ecr\.aws": "ecr-public",
    r"registry-1\.docker\.io": "docker-hub",
    r"ghcr\.io": "github-container-registry",
    r"registry\.gitlab\.com": "gitlab-container-registry",
    r"registry\.k8s\.io": "k8s",
    r"[a-z0-9]+\.azurecr\.io": "azure-container-registry",
    r"quay\.io": "quay",
    r"cgr\.dev": "chainguard",
}
_OPEN = frozenset({"ecr", "ecr-public", "k8s", "quay"})
_SECRET = re.compile(r"arn:aws(-\w+)*:secretsmanager:[a-zA-Z0-9:-]+:secret:ecr-pullthroughcache/[a-zA-Z0-9/_+=.@-]+")


class UpstreamFailure(NamedTuple):
    """As the event says it, and BatchGetImage of an image that is not cached."""

    code: str
    reason: str


MISSING = UpstreamFailure("ImageNotFound", "Requested image not found")


class LocalCache:
    """Of all ECRs of this process. `upstream`: the manifests of each upstream repository (`quay.io/team/api`) by tag,
    and those that an index needs by digest; `failing`: why an upstream registry gives nothing, by its URL; `asked`:
    when each tag was last looked up there. `restores`: see above.
    """

    upstream: ClassVar[dict[str, dict[str, str]]] = {}
    failing: ClassVar[dict[str, UpstreamFailure]] = {}
    asked: ClassVar[dict[tuple[str, str], datetime]] = {}
    restores: ClassVar[bool] = True

    @staticmethod
    def reset() -> None:
        LocalCache.upstream.clear()
        LocalCache.failing.clear()
        LocalCache.asked.clear()
        LocalCache.restores = True

    @staticmethod
    def pull(ecr: LocalEcr, name: str, tag: str) -> UpstreamFailure | None:
        """Fetches what a pull by `tag` finds missing or a day old. A failure of what is cached keeps nobody from it:
        then, and where no rule covers the repository, None."""
        prefix = longest_prefix(name, rules_of(ecr))
        if prefix is None:
            return None
        rule, now, home = rules_of(ecr)[prefix], ecr.clock.now(), ecr.repositories.get(name)
        cached = ecr.find(home, tag=tag) if home is not None else None
        held = cached is not None and (cached.status == ACTIVE or not LocalCache.restores)
        key = (f"{ecr.account_id}/{ecr.region_name}/{name}", tag)
        if held and now < LocalCache.asked.get(key, now - ASKED_AGAIN) + ASKED_AGAIN:
            return None
        LocalCache.asked[key] = now
        found = _fetch(ecr, rule, name, tag)
        at = Repository(ecr.account_id, ecr.region_name, name)
        if isinstance(found, UpstreamFailure):
            LocalEcr.publish(aws_events.pulled_through(at, tag, rule, None, found, now))
            return None if held else found
        LocalEcr.publish(aws_events.pulled_through(at, tag, rule, found.image_digest, None, now))
        return None


def rules_of(ecr: LocalEcr) -> dict[str, Row]:
    """Rows of DescribePullThroughCacheRules by prefix."""
    rules: dict[str, Row] = vars(ecr).setdefault(_RULES, {})
    return rules


def _fetch(ecr: LocalEcr, rule: Row, name: str, tag: str) -> HeldImage | UpstreamFailure:
    """Of an index also its images, without tags."""
    url = rule["upstreamRegistryUrl"]
    if (failure := LocalCache.failing.get(url)) is not None:
        return failure
    there = LocalCache.upstream.get(f"{url}/{_upstream_name(rule, name)}", {})
    if tag not in there:
        return MISSING
    ecr.make_repository(name, PULL_THROUGH_CACHE)
    try:
        for digest in children_of(there[tag]):
            _cache(ecr, name, there[digest], None)
        return _cache(ecr, name, there[tag], tag)
    except ImageAlreadyExistsException as refused:
        return UpstreamFailure("ImageTagAlreadyExists", str(refused.message))


def _upstream_name(rule: Row, name: str) -> str:
    prefix, upstream = rule["ecrRepositoryPrefix"].rstrip("/"), rule["upstreamRepositoryPrefix"].rstrip("/")
    rest = name if prefix == ROOT else name.removeprefix(f"{prefix}/")
    return rest if upstream == ROOT else f"{upstream}/{rest}"


def _cache(ecr: LocalEcr, name: str, manifest: str, tag: str | None) -> HeldImage:
    """Pushed as by a client; what is there already under its tag stays as it is."""
    home = ecr.home(name)
    held = next((image for image in home.images if image.image_manifest == manifest), None)
    named = isinstance(held, HeldImage) and (tag is None or tag in held.image_tags)
    if isinstance(held, HeldImage) and named and (held.status == ACTIVE or not LocalCache.restores):
        return held
    return ecr.put(name, manifest, tag, None)


class PullThroughAnswers(ECRResponse):
    def create_pull_through_cache_rule(self) -> ActionResult:
        prefix = checked_prefix(self._get_param("ecrRepositoryPrefix"), "ecrRepositoryPrefix", LONGEST_PREFIX)
        upstream = self._get_param("upstreamRepositoryPrefix") or ROOT
        checked_prefix(upstream, "upstreamRepositoryPrefix", LONGEST_PREFIX)
        url, credentials = str(self._get_param("upstreamRegistryUrl")), self._credentials()
        registry = next((name for form, name in _REGISTRIES.items() if re.fullmatch(form, url)), None)
        if registry is None or self._get_param("upstreamRegistry") not in (None, registry):
            raise EcrRefusal("UnsupportedUpstreamRegistryException", f"{url} is no upstream registry that is supported")
        if registry not in _OPEN and "credentialArn" not in credentials:
            raise InvalidParameterException(f"Invalid parameter at 'credentialArn': {url} asks for credentials")
        if prefix in self._rules:
            raise EcrRefusal("PullThroughCacheRuleAlreadyExistsException", f"There is a rule for {prefix!r} already")
        if len(self._rules) >= MOST_RULES:
            raise LimitExceededException()
        self._rules[prefix] = {
            "ecrRepositoryPrefix": prefix,
            "upstreamRegistryUrl": url,
            "upstreamRegistry": registry,
            "upstreamRepositoryPrefix": upstream,
            "registryId": self._ecr.account_id,
            "createdAt": self._now,
            **credentials,
        }
        return PlainAnswer(self._rules[prefix])

    def update_pull_through_cache_rule(self) -> ActionResult:
        rule = self._rule()
        rule |= {**self._credentials(), "updatedAt": self._now}
        return PlainAnswer(_without(rule, "upstreamRegistryUrl", "upstreamRegistry", "createdAt"))

    def delete_pull_through_cache_rule(self) -> ActionResult:
        """What is cached stays."""
        rule = self._rule()
        del self._rules[rule["ecrRepositoryPrefix"]]
        return PlainAnswer(_without(rule, "upstreamRegistry", "updatedAt"))

    def describe_pull_through_cache_rules(self) -> ActionResult:
        asked = self._get_param("ecrRepositoryPrefixes")
        if asked and (unknown := [prefix for prefix in asked if prefix not in self._rules]):
            raise _no_rule(unknown[0])
        rows = [rule for prefix, rule in sorted(self._rules.items()) if not asked or prefix in asked]
        size = min(int(self._get_param("maxResults") or ROWS), MOST_ROWS)
        page, more = page_of(rows, self._get_param("nextToken"), size)
        return PlainAnswer({"pullThroughCacheRules": page, **more})

    def validate_pull_through_cache_rule(self) -> ActionResult:
        """Whether its upstream answers now."""
        rule = self._rule()
        failure = LocalCache.failing.get(rule["upstreamRegistryUrl"])
        said = {"isValid": failure is None} | ({} if failure is None else {"failure": failure.reason})
        return PlainAnswer(_without(rule, "upstreamRegistry", "createdAt", "updatedAt") | said)

    @property
    def _ecr(self) -> LocalEcr:
        backend = self.ecr_backend
        assert isinstance(backend, LocalEcr)
        return backend

    @property
    def _rules(self) -> dict[str, Row]:
        return rules_of(self._ecr)

    @property
    def _now(self) -> float:
        return self._ecr.clock.now().timestamp()

    def _rule(self) -> Row:
        prefix = self._get_param("ecrRepositoryPrefix")
        if prefix not in self._rules:
            raise _no_rule(prefix)
        return self._rules[prefix]

    def _credentials(self) -> Row:
        arn = self._get_param("credentialArn")
        if arn is not None and (len(arn) > LONGEST_SECRET or _SECRET.fullmatch(arn) is None):
            raise InvalidParameterException(f"Invalid parameter at 'credentialArn': {arn!r} names no secret of a cache")
        said = {"credentialArn": arn, "customRoleArn": self._get_param("customRoleArn")}
        return {key: value for key, value in said.items() if value is not None}


def _no_rule(prefix: Any) -> EcrRefusal:
    return EcrRefusal("PullThroughCacheRuleNotFoundException", f"There is no rule for {prefix!r}")


def _without(rule: Mapping[str, Any], *names: str) -> Row:
    return {key: value for key, value in rule.items() if key not in names}
