"""Have our own roles leave no pull time: ECR counts reading a manifest as a pull, and retention keeps what was pulled.

It is a setting of each registry and Region, made once by whoever sets Lazaretto up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from chalicelib.domain.images.names import RegistryPlace
from chalicelib.services.ports.registry import PullTimes

Roles = Mapping[RegistryPlace, tuple[str, ...]]
"""ARNs of roles by the registry they read."""


def readers_of(
    places: Collection[RegistryPlace], own_roles: Collection[str], account_roles: Mapping[str, str]
) -> Roles:
    """Who of ours reads each registry: our functions in our own account, in another one the role they assume there."""
    own = tuple(sorted(own_roles))
    return {p: own if p.account is None else tuple(filter(None, [account_roles.get(p.account)])) for p in places}


def missing_exclusions(readers: Roles, pull_times: PullTimes) -> Roles:
    """Those that still leave pull times; registries without one are absent. Nothing is changed. Raises TransientError,
    DeniedError and UpstreamError."""
    found: dict[RegistryPlace, tuple[str, ...]] = {}
    for place, roles in readers.items():
        excluded = pull_times.excluded(place) if roles else frozenset[str]()
        if missing := tuple(role for role in roles if role not in excluded):
            found[place] = missing
    return found


def exclude_pull_times(readers: Roles, pull_times: PullTimes) -> Roles:
    """Registers what is missing, and returns it. Raises as `missing_exclusions`; what was registered by then stays, and
    doing it again does the rest."""
    missing = missing_exclusions(readers, pull_times)
    for place, roles in missing.items():
        for role in roles:
            pull_times.exclude(place, role)
    return missing
