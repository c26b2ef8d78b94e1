"""How ECR scans: the rules of a registry, what of them is applied to its repositories, and a scan that is asked for.

Calls: one GetRegistryScanningConfiguration for a registry, one BatchGetRepositoryScanningConfiguration for each 25
repositories, one StartImageScan for an image. The first two name no registry: they answer for that of the account that
asks, so what they say is about another one where nothing lets us in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.answers import readable, told
from chalicelib.adapters.aws.errors import asked, code_of
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.scan_budget import ScanRefusal
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, RegistryScanning
from chalicelib.errors import AbsentError, LazarettoError, UpstreamError
from chalicelib.parsers.findings.scanning_answers import read_applied_scanning, read_registry_scanning

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

NAMES_ASKED = 25
_REFUSALS = {
    "LimitExceededException": ScanRefusal.LIMIT,
    "UnsupportedImageTypeException": ScanRefusal.UNSUPPORTED,
    "ImageArchivedException": ScanRefusal.ARCHIVED,
}
_QUOTA = "scan quota"
"""In the message of an image that was scanned within 24 hours, whose code may be that of a throttle."""


class EcrScanning:
    """services.ports.scanning.Scans. `client_of` gives the ECR client of an account and a Region.

    All methods raise TransientError, DeniedError and UpstreamError.
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient]) -> None:
        self._client_of = client_of

    def configuration(self, registry: Repository) -> tuple[str, RegistryScanning]:
        """How the registry and Region of `registry` scan, with the account id of the registry that the answer is about.
        It need not be the one that was meant."""
        what = f"read the scanning configuration of {registry.registry} in {registry.region}"
        client = self._client_of(registry.registry, registry.region)
        answer = asked(what, client.get_registry_scanning_configuration)
        with readable(what):
            return read_registry_scanning(told(answer))

    def applied(self, registry: Repository, names: Collection[str]) -> dict[str, AppliedScanRule]:
        """What is applied to repositories of that registry, by name; those that are not there are absent."""
        found: dict[str, AppliedScanRule] = {}
        ordered = sorted(names)
        what = f"read how repositories of {registry.registry} in {registry.region} are scanned"
        for start in range(0, len(ordered), NAMES_ASKED):
            some = ordered[start : start + NAMES_ASKED]
            call = self._client_of(registry.registry, registry.region).batch_get_repository_scanning_configuration
            answer = asked(what, call, repositoryNames=some)
            with readable(what):
                found |= read_applied_scanning(told(answer))
        return found

    def start(self, ref: ImageRef) -> ScanRefusal | None:
        """Has ECR's own scanner scan the image. None: it is at it."""
        named: dict[str, Any] = {"registryId": ref.registry, "repositoryName": ref.repository}
        call = self._client_of(ref.registry, ref.region).start_image_scan
        try:
            asked(f"have {ref} scanned", call, **named, imageId={"imageDigest": ref.digest})
        except AbsentError:
            return ScanRefusal.ABSENT
        except UpstreamError as error:
            if (refusal := _refusal(error)) is None:
                raise
            return refusal
        return None


def _refusal(error: LazarettoError) -> ScanRefusal | None:
    return ScanRefusal.LIMIT if _QUOTA in str(error).lower() else _REFUSALS.get(code_of(error) or "")
