"""ECR Public listed, page by page: our registry by its alias, its repositories, all their images; half is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.ecr.listing import EcrPublicListing
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Repository
from chalicelib.domain.images.names import PublicRegistry
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.ecr import public as ecr_public
from chalicelib.local.ecr.ecr import MANIFEST
from chalicelib.local.ecr.public import EcrPublic
from tests.local import samples
from tests.local.running import local_aws

OURS = PublicRegistry(ACCOUNT, ("demo",))
HOME = Repository("public/demo", PUBLIC_REGION, "team/web")
AT = datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def public(running: Any) -> EcrPublic:
    running.public = EcrPublic(ACCOUNT)
    held: EcrPublic = running.public
    return held


@pytest.fixture
def listing(public: EcrPublic) -> EcrPublicListing:
    sessions = Sessions(samples.REGION)
    return EcrPublicListing(lambda region: sessions.client("ecr-public", region))


def image(number: int, home: Repository = HOME) -> ImageRef:
    return home.image(f"sha256:{number:064x}")


class Pages:
    """A client that gives these answers one after the other, or raises them; the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), list[dict[str, Any]]()

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.asked.append(request)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                raise answer
            date = {"HTTPHeaders": {"date": "Sun, 01 Mar 2026 10:06:00 GMT"}}
            return {**answer, "ResponseMetadata": date}

        return call


def of(*answers: Any) -> EcrPublicListing:
    pages = Pages(*answers)
    return EcrPublicListing(lambda _: pages)


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}, "DescribeImages")


def alias(name: str, status: str = "ACTIVE", *, primary: bool = False, default: bool = False) -> dict[str, Any]:
    return {"name": name, "status": status, "primaryRegistryAlias": primary, "defaultRegistryAlias": default}


def test_our_registry_is_named_by_its_primary_alias(listing: EcrPublicListing, public: EcrPublic) -> None:
    public.aliases = ["acme", "x1y2z3"]
    assert listing.registry() == PublicRegistry(ACCOUNT, ("acme", "x1y2z3"))


def test_aliases_that_are_not_in_force_name_nothing() -> None:
    aliases = [alias("zz", default=True), alias("acme", "PENDING", primary=True), alias("mine")]
    found = of({"registries": [{"registryId": ACCOUNT, "aliases": aliases}]}).registry()
    assert found == PublicRegistry(ACCOUNT, ("zz", "mine"))
    assert of({"registries": [{"registryId": ACCOUNT, "aliases": []}]}).registry() is None
    assert of({"registries": []}).registry() is None


def test_repositories_come_page_by_page(
    listing: EcrPublicListing, public: EcrPublic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecr_public, "LONGEST_PAGE", 2)
    for name in ("a", "b", "team/web"):
        public.hold(image(1, Repository("public/demo", PUBLIC_REGION, name)), (), MANIFEST, AT)
    page = listing.repositories(OURS)
    rest = listing.repositories(OURS, page.after)
    found = [detail.repository for detail in (*page.repositories, *rest.repositories)]
    assert found == [Repository("public/demo", PUBLIC_REGION, name) for name in ("a", "b", "team/web")]
    assert rest.after is None
    assert page.repositories[0].created_at == AT


def test_all_images_are_listed_under_the_alias_with_tags_and_push(
    listing: EcrPublicListing, public: EcrPublic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecr_public, "LONGEST_PAGE", 2)
    for number in range(1, 6):
        public.hold(image(number), ("latest", f"v{number}"), MANIFEST, AT)
    listed = listing.images(OURS, HOME)
    assert sorted(detail.ref for detail in listed.images.values()) == [image(n) for n in range(1, 6)]
    last, first = listed.images[image(5).digest], listed.images[image(1).digest]
    assert (set(last.tags), first.tags, last.pushed_at) == ({"latest", "v5"}, ("v1",), AT)
    assert not listed.absent


def test_a_repository_that_is_not_there_is_absent(listing: EcrPublicListing) -> None:
    listed = listing.images(OURS, HOME)
    assert (listed.absent, listed.images) == (True, {})


def test_a_repository_by_a_former_alias_is_absent(listing: EcrPublicListing, public: EcrPublic) -> None:
    public.hold(image(1), (), MANIFEST, AT)
    renamed = PublicRegistry(ACCOUNT, ("acme", "demo"))
    assert listing.images(renamed, HOME).absent
    assert len(listing.images(renamed, Repository("public/acme", PUBLIC_REGION, "team/web")).images) == 1


def test_a_listing_that_fails_half_way_lists_nothing() -> None:
    half = {"imageDetails": [], "nextToken": "more"}
    for code, error in (
        ("ThrottlingException", TransientError),
        ("AccessDeniedException", DeniedError),
        ("RepositoryNotFoundException", UpstreamError),
    ):
        with pytest.raises(error):
            of(half, refused(code)).images(OURS, HOME)


def test_a_listing_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.adapters.aws.calls.PAGES", 3)
    with pytest.raises(UpstreamError, match="more than 3 pages"):
        of({"imageDetails": [], "nextToken": "more"}).images(OURS, HOME)


def test_an_answer_that_cannot_be_read_is_no_empty_one() -> None:
    row = {"registryId": ACCOUNT, "repositoryName": "other", "imageDigest": image(1).digest}
    for answer in ({}, {"imageDetails": [row]}):
        with pytest.raises(UpstreamError):
            of(answer).images(OURS, HOME)
    with pytest.raises(UpstreamError):
        of({}).repositories(OURS)
    for answer in ({}, {"registries": [{}]}):
        with pytest.raises(UpstreamError):
            of(answer).registry()


def test_the_local_service_refuses_what_ecr_public_refuses(public: EcrPublic) -> None:
    client: Any = boto3.client("ecr-public", PUBLIC_REGION)
    named = {"repositoryName": "app"}
    public.hold(image(1, Repository("public/demo", PUBLIC_REGION, "app")), ("1.0",), MANIFEST, AT)
    with pytest.raises(client.exceptions.UnsupportedCommandException):
        client.get_authorization_token()
    with pytest.raises(ClientError, match="RegistryNotFoundException"):
        client.describe_images(**named, registryId="999999999999")
