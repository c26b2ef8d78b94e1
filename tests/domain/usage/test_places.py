"""Which clusters and services the sentences about who runs an image name."""

from __future__ import annotations

import pytest

from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.usage.places import RunningPlace, places_of, runs_in

YES = InUseState.YES


@pytest.mark.parametrize(
    ("sentence", "place"),
    [
        ("ECS service web in cluster prod (2 tasks)", RunningPlace("prod", ("web",))),
        ("eu-west-1, account 444455556666: ECS service web in cluster prod", RunningPlace("prod", ("web",))),
        ("ECS daemon agent in cluster prod (0 tasks wanted)", RunningPlace("prod", ("agent",))),
        ("ECS task batch in cluster prod (1 task)", RunningPlace("prod")),
        ("ECS service web in cluster prod of account 444455556666 (as Inspector says)", RunningPlace("prod", ("web",))),
        (
            "EKS deployment web, job mail of namespace shop in cluster blue (3 pods)",
            RunningPlace("blue", ("web", "mail")),
        ),
        ("EKS deployment web in cluster blue (ran within the last day)", RunningPlace("blue", ("web",))),
        (
            "EKS deployment a, job b, job c and 2 more of namespace shop in cluster blue (9 pods)",
            RunningPlace("blue", ("a", "b", "c"), whole=False),
        ),
        ("EKS workload of namespace shop in cluster blue (1 pod)", RunningPlace("blue", (), whole=False)),
        ("EKS a workload in cluster blue (1 pod)", RunningPlace("blue", (), whole=False)),
        ("something in a cluster (2 units)", RunningPlace(None, (), whole=False)),
        ("and 4 more", RunningPlace(None, (), whole=False)),
        ("App Runner service front", RunningPlace(None, ("front",))),
        ("Lambda function resize (version 3)", RunningPlace()),
        ("EventBridge rule nightly (starts ECS task batch)", RunningPlace()),
    ],
)
def test_a_sentence_names_its_cluster_and_services(sentence: str, place: RunningPlace) -> None:
    assert list(places_of(InUse(YES, by=(sentence,)))) == [place]


WEB = InUse(YES, by=("ECS service web in cluster prod (1 task)", "ECS service api in cluster test (1 task)"))


@pytest.mark.parametrize(
    ("use", "cluster", "service", "runs"),
    [
        (WEB, "prod", None, True),
        (WEB, None, "api", True),
        (WEB, "prod", "web", True),
        (WEB, "prod", "api", False),
        (WEB, "green", None, False),
        (WEB, None, None, True),
        (InUse(YES, by=(*WEB.by, "and 1 more")), "green", None, None),
        (InUse(YES, 3), "green", None, None),
        (InUse(), "green", None, None),
        (InUse(), None, None, None),
        (InUse(InUseState.NO), None, None, False),
    ],
)
def test_what_is_not_known_to_run_elsewhere_may_run_there(
    use: InUse, cluster: str | None, service: str | None, runs: bool | None
) -> None:
    assert runs_in(use, cluster, service) is runs
