"""Every failure of AWS becomes one of ours, and keeps its cause."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from chalicelib.adapters.aws.calls import LONGEST, asked, aws_call, code_of
from chalicelib.errors import AbsentError, ConflictError, DeniedError, TransientError, UpstreamError


def failed(code: str, status: int = 400, headers: dict[str, str] | None = None, **more: Any) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
        **more,
    }
    return ClientError(response, "Anything")


def cancelled(*codes: str) -> ClientError:
    return failed("TransactionCanceledException", CancellationReasons=[{"Code": c} for c in codes])


def raised(error: Exception) -> BaseException:
    with pytest.raises((ConflictError, UpstreamError)) as caught, aws_call("the call"):
        raise error
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("the call")
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (failed("ThrottlingException"), TransientError),
        (failed("ProvisionedThroughputExceededException"), TransientError),
        (failed("AnythingNew", 503), TransientError),
        (failed("KMS.ThrottlingException"), TransientError),
        (failed("KmsThrottled"), TransientError),
        (failed("KMSThrottling"), TransientError),
        (failed("KMS.AccessDeniedException"), DeniedError),
        (failed("KmsAccessDenied"), DeniedError),
        (failed("KMSAccessDenied"), DeniedError),
        (failed("AnythingNew", 429), TransientError),
        (failed("ServerException", 500), TransientError),
        (ReadTimeoutError(endpoint_url="https://example.org"), TransientError),
        (ConnectTimeoutError(endpoint_url="https://example.org"), TransientError),
        (EndpointConnectionError(endpoint_url="https://example.org"), TransientError),
        (failed("ConditionalCheckFailedException"), ConflictError),
        (failed("TransactionConflictException"), ConflictError),
        (cancelled("None", "ConditionalCheckFailed"), ConflictError),
        (cancelled("TransactionConflict", "None"), ConflictError),
        (cancelled("ThrottlingError", "ConditionalCheckFailed"), ConflictError),
        (cancelled("ThrottlingError", "None"), TransientError),
        (failed("AccessDeniedException"), DeniedError),
        (failed("AnythingNew", 403), DeniedError),
        (failed("ExpiredTokenException"), DeniedError),
        (NoCredentialsError(), DeniedError),
    ],
)
def test_each_failure_says_whether_to_try_again(error: Exception, kind: type[Exception]) -> None:
    assert type(raised(error)) is kind


@pytest.mark.parametrize(
    "error", [failed("ValidationException"), cancelled("ValidationError"), ParamValidationError(report="bad")]
)
def test_a_mistake_of_ours_is_not_tried_again(error: Exception) -> None:
    assert type(raised(error)) is UpstreamError


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("ImageNotFoundException", "image"),
        ("RepositoryNotFoundException", "repository"),
        ("ScanNotFoundException", "scan"),
    ],
)
def test_what_ecr_does_not_have_is_named(code: str, what: str) -> None:
    error = raised(failed(code))
    assert isinstance(error, AbsentError)
    assert error.what == what


def test_retry_after_is_kept_where_it_is_a_number_of_seconds() -> None:
    wait = raised(failed("ThrottlingException", headers={"retry-after": "7"}))
    assert isinstance(wait, TransientError)
    assert wait.retry_after_seconds == 7
    later = raised(failed("ThrottlingException", headers={"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}))
    assert isinstance(later, TransientError)
    assert later.retry_after_seconds is None


def test_the_code_stays_readable() -> None:
    assert code_of(raised(failed("KmsException"))) == "KmsException"
    assert code_of(raised(NoCredentialsError())) is None


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), aws_call("the call"):
        raise KeyError("ours")


def test_an_answer_that_botocore_cannot_read_is_a_failure_of_aws():
    assert type(raised(ResponseParserError("no XML"))) is UpstreamError


@pytest.mark.parametrize(
    "error", [TypeError("int is not iterable"), AttributeError("get"), KeyError("x"), ValueError("time")]
)
def test_an_answer_of_another_shape_is_a_failure_of_aws(error: Exception):
    def stumbling(**_: Any) -> Any:
        raise error

    with pytest.raises(UpstreamError, match="the call: an answer that cannot be read") as caught:
        asked("the call", stumbling)
    assert caught.value.__cause__ is error


def test_of_an_answer_that_cannot_be_read_no_secret_is_repeated():
    def stumbling() -> None:
        raise ValueError(
            f"not a number: {'eyJ' * 100} in https://layers.example.org/a?X-Amz-Signature=abc\n{'body' * 9}"
        )

    with pytest.raises(UpstreamError) as caught:
        asked("the call", stumbling)
    assert str(caught.value).endswith("ValueError: not a number: … in https://layers.example.org/a?…")


def test_what_is_asked_is_passed_on_and_the_failures_of_botocore_stay_what_they_are():
    assert asked("the call", dict, what=1, call=2) == {"what": 1, "call": 2}

    def failing() -> Any:
        raise ParamValidationError(report="no")

    with pytest.raises(UpstreamError, match="validation failed"):
        asked("the call", failing)


TOKEN = "IQoJb3JpZ2luX2VjE" + "Ab+/" * 80
SIGNED = "https://bucket.s3.amazonaws.com/layer?X-Amz-Credential=ASIAABCDEFGHIJKLMNOP&X-Amz-Signature=" + "f" * 64


@pytest.mark.parametrize(
    "error",
    [
        ClientError(
            {
                "Error": {
                    "Code": "InvalidSignatureException",
                    "Message": "The request signature we calculated does not match.\n\nThe Canonical String for this "
                    f"request should have been\n'POST\n/\n\nx-amz-security-token:{TOKEN}'",
                }
            },
            "PutImage",
        ),
        ClientError({"Error": {"Code": "AccessDenied", "Message": f"Encoded failure message: {TOKEN}"}}, "PutImage"),
        ClientError(
            {"Error": {"Code": "IncompleteSignature", "Message": f"Authorization=AWS4-HMAC Credential={TOKEN[:60]}"}},
            "PutImage",
        ),
        ClientError({"Error": {"Code": "Unknown", "Message": "the key ASIAABCDEFGHIJKLMNOP is odd"}}, "PutImage"),
        ReadTimeoutError(endpoint_url=SIGNED),
        EndpointConnectionError(endpoint_url=SIGNED),
        ResponseParserError(
            f"Unable to parse response, invalid XML received:\nb'<SessionToken>{TOKEN}</SessionToken>'"
        ),
        ParamValidationError(report=f"Invalid type for parameter layerPartBlob, value: {TOKEN}, type: <class>"),
    ],
)
def test_no_token_no_signed_url_and_no_body_stands_in_the_text(error: Exception) -> None:
    said = str(raised(error))
    for secret in (TOKEN[:20], "X-Amz-Credential", "ASIAABCDEFGHIJKLMNOP", "f" * 64):
        assert secret not in said
    assert said.startswith("the call: ")


def test_the_text_of_an_error_is_cut_and_keeps_what_a_person_needs() -> None:
    who = "User: arn:aws:sts::111122223333:assumed-role/lazaretto/on_actions is not authorized to perform: ecr:PutImage"
    error = ClientError({"Error": {"Code": "AccessDeniedException", "Message": f"{who} {'on it ' * 999}"}}, "PutImage")
    said = str(raised(error))
    assert who in said
    assert len(said) <= len("the call: ") + LONGEST


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        ("AccessDenied", "not authorized", "the call: GetThing: not authorized (AccessDenied)"),
        ("502", "<!doctype html>\n<p>proxy", "the call: GetThing: a web page, which is no answer of AWS (502)"),
        ("UnknownOperationException", "", "the call: not known there"),
        ("Odd", "", "the call: GetThing: no word of why (Odd)"),
    ],
)
def test_what_is_said_is_one_short_line(code: str, message: str, words: str) -> None:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    assert str(raised(ClientError(response, "GetThing"))) == words
