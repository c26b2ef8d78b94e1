"""Every operation of ECR and ECR Public that changes something is heard from CloudTrail, or excused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.session
import pytest

from chalicelib.domain.tampering.tampering import IMAGE_CALLS, PARAMETERS, SETTINGS

ROOT = Path(__file__).parents[2]
TEMPLATES = [ROOT / ".chalice/resources.json", ROOT / "chalicelib/cli/deploy/spoke.json"]
READING = ("BatchCheck", "BatchGet", "Describe", "Get", "List", "Validate")
EXCUSED = {
    "CompleteLayerUpload": "part of a push: an image is there by PutImage alone",
    "InitiateLayerUpload": "part of a push",
    "UploadLayerPart": "part of a push",
    "StartImageScan": "asks for a scan, whose end ECR tells of",
    "StartLifecyclePolicyPreview": "a preview deletes nothing",
    "TagResource": "tags of a repository: nothing here is decided by them",
    "UntagResource": "tags of a repository",
    "PutRegistryCatalogData": "texts of the public gallery",
    "PutRepositoryCatalogData": "texts of the public gallery",
}


def changing(service: str) -> set[str]:
    model = botocore.loaders.Loader().load_service_model(service, "service-2")
    return {name for name in model["operations"] if not name.startswith(READING)}


def pattern(template: Path) -> dict[str, Any]:
    resources = json.loads(template.read_text())["Resources"]
    found: dict[str, Any] = resources["RegistryCallRule"]["Properties"]["EventPattern"]
    return found


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_every_changing_operation_is_heard_or_excused_by_name(template: Path) -> None:
    heard, models = set(pattern(template)["detail"]["eventName"]), changing("ecr") | changing("ecr-public")
    assert heard == models - EXCUSED.keys()
    assert EXCUSED.keys() <= models, "an excuse for what is no operation any more"
    assert heard == SETTINGS.keys() | IMAGE_CALLS


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_calls_of_both_services_are_heard_by_a_pattern_that_eventbridge_takes(template: Path) -> None:
    heard = pattern(template)
    assert heard["source"] == ["aws.ecr", "aws.ecr-public"]
    assert heard["detail"]["eventSource"] == ["ecr.amazonaws.com", "ecr-public.amazonaws.com"]
    assert len(json.dumps(heard)) <= 2_048


def test_each_excuse_is_in_the_documents() -> None:
    text = (ROOT / "docs/security.md").read_text()
    assert not [name for name in EXCUSED if f"`{name}`" not in text]


def test_what_is_told_of_a_call_is_named_by_its_model() -> None:
    session = botocore.session.get_session()
    models = [session.get_service_model(service) for service in ("ecr", "ecr-public")]
    inputs = [
        m.operation_model(name).input_shape.members for m in models for name in m.operation_names if name in SETTINGS
    ]
    assert {name for members in inputs for name in members} - {"registryId"} == PARAMETERS
