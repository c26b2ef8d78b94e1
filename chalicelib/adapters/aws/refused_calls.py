"""Calls that AWS refuses for want of a permission: counted, and told by name, whatever became of whoever asked.

Much is done without the answer to a look-up: an image counts as running, a vulnerability as not known to be exploited.
That is safe and must not be silent: a right that is missing stays missing until somebody gives it.
Source: IAM user guide, "Access denied error message format".
"""

from __future__ import annotations

import re
from typing import Any

import boto3

from chalicelib.domain.events.handling import Metric
from chalicelib.observability import logger
from chalicelib.services.ports.messages import Meter

REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "KMS.AccessDeniedException",
        "KMSAccessDenied",
        "KmsAccessDenied",
        "NotAuthorized",
        "UnauthorizedOperation",
    }
)
"""`KMS…`: what the key of a queue or topic refuses, in the words of SQS and SNS."""
_OURS = re.compile(r"arn:[^:\s]*:(?:sts|iam)::(\d{12}):")
_THEIRS = re.compile(r" on resource: arn:[^:\s]*:[^:\s]*:[^:\s]*:(\d{12}):")


def count_refused_calls(session: boto3.Session, meter: Meter) -> None:
    """To be called before the session makes its clients."""

    def look(parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        error = parsed.get("Error") or {}
        if error.get("Code") not in REFUSED or _is_of_another_account(str(error.get("Message"))):
            return
        meter.count(Metric.CALLS_REFUSED)
        called = f"{model.service_model.service_name}:{model.name}"
        logger.error("call refused", extra={"call": called, "aws_region": context.get("client_region")})

    session.events.register("after-call", look, unique_id="refused-calls")


def _is_of_another_account(message: str) -> bool:
    """Who asks about another account without a role there is answered as that account's own policies say."""
    ours, theirs = _OURS.search(message), _THEIRS.search(message)
    return ours is not None and theirs is not None and ours[1] != theirs[1]
