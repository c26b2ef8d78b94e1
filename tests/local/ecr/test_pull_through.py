"""The local ECR caches as AWS's does: by a rule, at the first pull by a tag, and again after a day; it makes the
repository by a template. What it answers has the names and the types of AWS's model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.domain.events.event import PulledThrough
from chalicelib.domain.images.image import Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from chalicelib.local.ecr.pull_through import LocalCache, UpstreamFailure, rules_of
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.parsers.events.events import parse_event
from tests.fakes.patient import check_shape
from tests.local.push_image import CONFIG, INDEX, LAYER, MANIFEST, Pusher
from tests.local.running import local_aws
from tests.local.samples import REGION

URL, NAME = "public.ecr.aws", "mirror/library/nginx"
HOME = Repository(ACCOUNT, REGION, NAME)
SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:ecr-pullthroughcache/hub-AbCdEf"
LIFECYCLE = json.dumps(
    {
        "rules": [
            {
                "rulePriority": 1,
                "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5},
                "action": {"type": "transition", "targetStorageClass": "archive"},
            }
        ]
    }
)
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}]})
TEMPLATE: dict[str, Any] = {
    "prefix": "mirror",
    "appliedFor": ["PULL_THROUGH_CACHE"],
    "description": "what comes from outside",
    "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/made-up"},
    "resourceTags": [{"Key": "owner", "Value": "platform"}],
    "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
    "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "latest*"}],
    "repositoryPolicy": POLICY,
    "lifecyclePolicy": LIFECYCLE,
    "customRoleArn": f"arn:aws:iam::{ACCOUNT}:role/ecr-template",
}


def manifest(name: str, media_type: str = MANIFEST) -> str:
    blob = {"mediaType": LAYER, "digest": f"sha256:{'0' * 64}", "size": len(name)}
    said = {"config": {**blob, "mediaType": CONFIG}, "layers": [blob], "annotations": {"name": name}}
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, **said})


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws() as aws:
        yield aws


class Cache:
    """A registry without rules, whose answers are compared with AWS's model before botocore reads them."""

    def __init__(self, aws: Any) -> None:
        self.aws = aws
        self.client: Any = boto3.client("ecr", REGION)
        self.client.meta.events.register("after-call.ecr", self._compare)
        self.heard: list[Any] = []
        self.compared: list[str] = []

    def _compare(self, http_response: Any, model: Any, **_: Any) -> None:
        if http_response.status_code == 200:
            check_shape(model.name, json.loads(http_response.content), model.output_shape)
            self.compared.append(model.name)

    def rule(self, prefix: str = "mirror", url: str = URL, **more: Any) -> Any:
        return self.client.create_pull_through_cache_rule(ecrRepositoryPrefix=prefix, upstreamRegistryUrl=url, **more)

    def pull(self, tag: str = "1.27", name: str = NAME) -> Any:
        return self.client.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag}])

    def digests(self, name: str = NAME) -> dict[str, tuple[str, ...]]:
        """The tags of each."""
        rows = self.client.describe_images(repositoryName=name, filter={"imageStatus": "ANY"})["imageDetails"]
        return {row["imageDigest"]: tuple(row.get("imageTags", ())) for row in rows}

    def pulled_through(self) -> list[PulledThrough]:
        read = [parse_event(event) for event in self.heard]
        return [event for event in read if isinstance(event, PulledThrough)]


@pytest.fixture
def cache(running: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    ecr = ecr_of(HOME)
    ecr.repositories.clear()
    ecr.templates.clear()
    rules_of(ecr).clear()
    LocalCache.reset()
    made = Cache(running)
    monkeypatch.setattr(LocalEcr, "publish", staticmethod(made.heard.append))
    LocalCache.upstream[f"{URL}/library/nginx"] = {"1.27": manifest("first")}
    yield made
    LocalCache.reset()


def refused(call: Any, *args: Any, **named: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*args, **named)
    return str(caught.value.response["Error"]["Code"])


# ---- the rules


def test_a_rule_is_created_described_validated_updated_and_deleted(cache: Cache) -> None:
    made = cache.rule(url="registry-1.docker.io", credentialArn=SECRET)
    assert (made["upstreamRegistry"], made["upstreamRepositoryPrefix"]) == ("docker-hub", "ROOT")
    asked = {"ecrRepositoryPrefix": "mirror"}
    assert cache.client.validate_pull_through_cache_rule(**asked)["isValid"] is True
    LocalCache.failing["registry-1.docker.io"] = UpstreamFailure("UpstreamAccessDenied", "the password is wrong")
    validated = cache.client.validate_pull_through_cache_rule(**asked)
    assert (validated["isValid"], validated["failure"]) == (False, "the password is wrong")
    renewed = SECRET.replace("hub", "new")
    assert cache.client.update_pull_through_cache_rule(**asked, credentialArn=renewed)["credentialArn"] == renewed
    (row,) = cache.client.describe_pull_through_cache_rules()["pullThroughCacheRules"]
    assert (row["credentialArn"], row["createdAt"] <= row["updatedAt"]) == (renewed, True)
    assert cache.client.delete_pull_through_cache_rule(**asked)["upstreamRegistryUrl"] == "registry-1.docker.io"
    assert cache.client.describe_pull_through_cache_rules()["pullThroughCacheRules"] == []
    assert len(set(cache.compared)) == 5


def test_rules_are_listed_in_pages(cache: Cache) -> None:
    for n in range(5):
        cache.rule(f"cache-{n}")
    pages = list(
        cache.client.get_paginator("describe_pull_through_cache_rules").paginate(PaginationConfig={"PageSize": 2})
    )
    assert [len(page["pullThroughCacheRules"]) for page in pages] == [2, 2, 1]


def test_what_ecr_refuses_is_refused(cache: Cache) -> None:
    cache.rule()
    unknown = {"ecrRepositoryPrefix": "unknown"}
    assert refused(cache.rule) == "PullThroughCacheRuleAlreadyExistsException"
    assert refused(cache.rule, "other", "registry.example.com") == "UnsupportedUpstreamRegistryException"
    assert refused(cache.rule, "other", upstreamRegistry="quay") == "UnsupportedUpstreamRegistryException"
    assert refused(cache.rule, "other", "ghcr.io") == "InvalidParameterException"
    assert (
        refused(cache.rule, "ghcr", "ghcr.io", credentialArn=SECRET.replace("ecr-", "")) == "InvalidParameterException"
    )
    assert refused(cache.rule, "Upper") == "InvalidParameterException"
    assert refused(cache.rule, "a" * 31) == "InvalidParameterException"
    for verb in ("delete", "validate", "update"):
        code = refused(getattr(cache.client, f"{verb}_pull_through_cache_rule"), **unknown)
        assert code == "PullThroughCacheRuleNotFoundException"
    listed = cache.client.describe_pull_through_cache_rules
    assert refused(listed, ecrRepositoryPrefixes=["unknown"]) == "PullThroughCacheRuleNotFoundException"
    for n in range(49):
        cache.rule(f"cache-{n}")
    assert refused(cache.rule, "one-more") == "LimitExceededException"


# ---- the templates


def test_a_template_is_created_described_updated_and_deleted(cache: Cache) -> None:
    made = cache.client.create_repository_creation_template(**TEMPLATE)["repositoryCreationTemplate"]
    assert {key: made[key] for key in TEMPLATE} == TEMPLATE
    changed = {"prefix": "mirror", "appliedFor": ["REPLICATION"]}
    row = cache.client.update_repository_creation_template(**changed)["repositoryCreationTemplate"]
    assert (row["appliedFor"], row["description"]) == (["REPLICATION"], TEMPLATE["description"])
    described = cache.client.describe_repository_creation_templates()
    assert (described["registryId"], len(described["repositoryCreationTemplates"])) == (ACCOUNT, 1)
    assert cache.client.describe_repository_creation_templates(prefixes=["other"])["repositoryCreationTemplates"] == []
    cache.client.delete_repository_creation_template(prefix="mirror")
    assert cache.client.describe_repository_creation_templates()["repositoryCreationTemplates"] == []
    assert len(set(cache.compared)) == 4


def test_a_template_that_ecr_refuses_is_refused(cache: Cache) -> None:
    create = cache.client.create_repository_creation_template
    create(prefix="mirror", appliedFor=["CREATE_ON_PUSH"])
    assert refused(create, prefix="mirror", appliedFor=["REPLICATION"]) == "TemplateAlreadyExistsException"
    assert refused(create, prefix="other", appliedFor=["SOMETHING"]) == "InvalidParameterException"
    assert refused(create, prefix="Other", appliedFor=["REPLICATION"]) == "InvalidParameterException"
    text = LIFECYCLE.replace('"rulePriority": 1', '"rulePriority": 0')
    assert (
        refused(create, prefix="old", appliedFor=["REPLICATION"], lifecyclePolicy=text) == "InvalidParameterException"
    )
    gone = {"prefix": "unknown"}
    assert refused(cache.client.update_repository_creation_template, **gone) == "TemplateNotFoundException"
    assert refused(cache.client.delete_repository_creation_template, **gone) == "TemplateNotFoundException"


def test_a_push_makes_its_repository_only_where_a_template_says_so(cache: Cache) -> None:
    push = Pusher(cache.client, Repository(ACCOUNT, REGION, "team/api"))
    cache.client.create_repository_creation_template(prefix="team", appliedFor=["PULL_THROUGH_CACHE", "REPLICATION"])
    assert refused(push.image, [b"api"], ["1.0"]) == "RepositoryNotFoundException"
    cache.client.create_repository_creation_template(
        prefix="ROOT", appliedFor=["CREATE_ON_PUSH"], imageTagMutability="IMMUTABLE"
    )
    push.image([b"api"], ["1.0"])
    (row,) = cache.client.describe_repositories(repositoryNames=["team/api"])["repositories"]
    assert row["imageTagMutability"] == "IMMUTABLE"


def test_a_copy_makes_its_repository_by_the_template_of_its_own_region(cache: Cache, running: Any) -> None:
    far: Any = boto3.client("ecr", "eu-central-1")
    far.create_repository_creation_template(
        prefix="team", appliedFor=["REPLICATION"], resourceTags=[{"Key": "owner", "Value": "team"}]
    )
    destination = {"region": "eu-central-1", "registryId": ACCOUNT}
    cache.client.put_replication_configuration(replicationConfiguration={"rules": [{"destinations": [destination]}]})
    cache.client.create_repository(repositoryName="team/api")
    Pusher(cache.client, Repository(ACCOUNT, REGION, "team/api")).image([b"api"], ["1.0"])
    for event in list(cache.heard):
        LocalReplication.take_up(event)
    cache.client.put_replication_configuration(replicationConfiguration={"rules": []})
    arn = f"arn:aws:ecr:eu-central-1:{ACCOUNT}:repository/team/api"
    assert far.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "owner", "Value": "team"}]


# ---- the cache


def test_the_first_pull_makes_the_repository_by_its_template_and_caches_the_image(cache: Cache) -> None:
    cache.rule()
    cache.client.create_repository_creation_template(**TEMPLATE)
    (image,) = cache.pull()["images"]
    assert image["imageManifest"] == manifest("first")
    (row,) = cache.client.describe_repositories(repositoryNames=[NAME])["repositories"]
    assert (row["imageTagMutability"], row["encryptionConfiguration"]) == (
        "IMMUTABLE_WITH_EXCLUSION",
        TEMPLATE["encryptionConfiguration"],
    )
    assert cache.client.list_tags_for_resource(resourceArn=row["repositoryArn"])["tags"] == TEMPLATE["resourceTags"]
    assert cache.client.get_repository_policy(repositoryName=NAME)["policyText"] == POLICY
    assert cache.client.get_lifecycle_policy(repositoryName=NAME)["lifecyclePolicyText"] == LIFECYCLE
    assert [event["detail-type"] for event in cache.heard] == ["ECR Image Action", "ECR Pull Through Cache Action"]
    assert cache.heard[1]["detail"] == {
        "rule-version": "1",
        "sync-status": "SUCCESS",
        "ecr-repository-prefix": "mirror",
        "repository-name": NAME,
        "upstream-registry-url": URL,
        "image-tag": "1.27",
        "image-digest": image["imageId"]["imageDigest"],
    }


def test_the_upstream_is_asked_again_after_a_day_and_the_tag_moves(cache: Cache) -> None:
    cache.rule()
    first = cache.pull()["images"][0]["imageId"]["imageDigest"]
    LocalCache.upstream[f"{URL}/library/nginx"]["1.27"] = manifest("second")
    cache.aws.clock.move(timedelta(hours=23))
    assert cache.pull()["images"][0]["imageId"]["imageDigest"] == first
    cache.aws.clock.move(timedelta(hours=2))
    second = cache.pull()["images"][0]["imageId"]["imageDigest"]
    assert cache.digests() == {first: (), second: ("1.27",)}
    assert [event.ref.digest for event in cache.pulled_through() if event.ref is not None] == [first, second]


def test_a_tag_that_is_immutable_cannot_be_refreshed(cache: Cache) -> None:
    cache.rule()
    cache.client.create_repository_creation_template(**TEMPLATE)
    first = cache.pull()["images"][0]["imageId"]["imageDigest"]
    LocalCache.upstream[f"{URL}/library/nginx"]["1.27"] = manifest("second")
    cache.aws.clock.move(timedelta(hours=25))
    assert cache.pull()["images"][0]["imageId"]["imageDigest"] == first
    assert [event.status for event in cache.pulled_through()] == ["SUCCESS", "FAILED"]


def test_an_upstream_that_fails_gives_nothing_new_and_keeps_nobody_from_what_is_cached(cache: Cache) -> None:
    cache.rule()
    LocalCache.failing[URL] = UpstreamFailure("UpstreamUnavailable", "it does not answer")
    assert refused(cache.pull) == "UnableToGetUpstreamImageException"
    LocalCache.failing.clear()
    assert cache.pull()["images"]
    LocalCache.failing[URL] = UpstreamFailure("UpstreamTooManyRequests", "slow down")
    cache.aws.clock.move(timedelta(hours=25))
    assert cache.pull()["images"]
    assert [f["failureCode"] for f in cache.pull("1.28")["failures"]] == ["UpstreamTooManyRequests"]
    told = [(event.status, event.failure_code, event.ref is None) for event in cache.pulled_through()]
    assert told == [
        ("FAILED", "UpstreamUnavailable", True),
        ("SUCCESS", None, False),
        ("FAILED", "UpstreamTooManyRequests", True),
        ("FAILED", "UpstreamTooManyRequests", True),
    ]


def test_what_no_rule_covers_and_what_is_named_by_its_digest_is_not_fetched(cache: Cache) -> None:
    assert refused(cache.pull) == "RepositoryNotFoundException"
    cache.rule()
    assert refused(cache.pull, name="mirrored/library/nginx") == "RepositoryNotFoundException"
    cache.pull()
    LocalCache.upstream[f"{URL}/library/nginx"]["1.28"] = manifest("next")
    asked = [{"imageDigest": f"sha256:{'1' * 64}", "imageTag": "1.28"}]
    answer = cache.client.batch_get_image(repositoryName=NAME, imageIds=asked)
    assert [failure["failureCode"] for failure in answer["failures"]] == ["ImageNotFound"]


@pytest.mark.parametrize(
    ("prefix", "upstream", "name"),
    [
        ("ROOT", None, "library/nginx"),
        ("mirror", "library", "mirror/nginx"),
        ("mirror/", None, "mirror/library/nginx"),
        ("mirror/hub", "library", "mirror/hub/nginx"),
    ],
)
def test_prefixes_of_both_ends_name_the_upstream_repository(
    cache: Cache, prefix: str, upstream: str | None, name: str
) -> None:
    cache.rule(prefix, **({} if upstream is None else {"upstreamRepositoryPrefix": upstream}))
    assert cache.pull(name=name)["images"]


def test_an_index_comes_with_its_images(cache: Cache) -> None:
    cache.rule()
    push = Pusher(cache.client, Repository(ACCOUNT, REGION, "team/build"))
    cache.client.create_repository(repositoryName="team/build")
    index = push.index({"linux/amd64": push.image([b"amd"]), "linux/arm64": push.image([b"arm"])})
    rows = ecr_of(HOME).home("team/build").images
    LocalCache.upstream[f"{URL}/library/nginx"] = {
        ("1.27" if row.image_digest == index.digest else str(row.image_digest)): row.image_manifest for row in rows
    }
    assert cache.pull()["images"][0]["imageManifestMediaType"] == INDEX
    assert sorted(cache.digests().values()) == [(), (), ("1.27",)]


@pytest.mark.parametrize("restores", [True, False])
def test_an_archived_image_that_is_pulled_again_is_fetched_again_if_ecr_does_so(cache: Cache, restores: bool) -> None:
    LocalCache.restores = restores
    cache.rule()
    image_id = {"imageDigest": cache.pull()["images"][0]["imageId"]["imageDigest"]}
    cache.client.update_image_storage_class(repositoryName=NAME, imageId=image_id, targetStorageClass="ARCHIVE")
    assert bool(cache.pull()["images"]) is restores
