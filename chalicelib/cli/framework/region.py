"""The AWS Region of operator commands and of signatures: that of the address or the one that was named, else what the
environment says."""

from __future__ import annotations

import os
import re

from chalicelib.errors import InputError

_EXECUTE_API = re.compile(
    r"[a-z0-9]+(?:-vpce-[a-z0-9]+)?\.execute-api\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"
)


def gateway_region(host: str) -> str | None:
    """Of an address of API Gateway; None for any other host."""
    gateway = _EXECUTE_API.fullmatch(host)
    return gateway["region"] if gateway else None


def aws_region(named: str | None = None, profile: str | None = None) -> str:
    """`named`, then AWS_REGION, AWS_DEFAULT_REGION, that of `profile` (None: the environment's). boto3 alone passes
    the first variable over, which the other SDKs read first.

    Raises InputError where none of them names a Region, for what is none, and where there is no such profile.
    """
    # Imported late: other commands must not wait for botocore.
    import botocore.session
    from botocore.exceptions import BotoCoreError
    from botocore.utils import validate_region_name

    session = botocore.session.Session(profile=profile)
    try:
        session.get_scoped_config()
        region = named or os.environ.get("AWS_REGION") or session.get_config_variable("region")
        validate_region_name(region)
    except BotoCoreError as error:
        raise InputError(f"the AWS configuration cannot be used: {error}") from error
    if not region:
        raise InputError("no AWS Region: set AWS_REGION or AWS_DEFAULT_REGION, or give your profile a region")
    return str(region)
