"""One call to AWS: botocore's errors become Lazaretto's, and answers are read as bytes, with the time they were given.

| AWS says | raised |
|---|---|
| throttled, 5xx, timed out, connection lost | TransientError (with `retry_after_seconds` where Retry-After is given) |
| a condition failed, alone or in a transaction; a transaction is under way on the item | ConflictError |
| access denied, token expired, no credentials | DeniedError |
| repository, image or scan not found (ECR) | AbsentError(`repository`, `image`, `scan`) |
| anything else, also what botocore cannot read | UpstreamError |

botocore retries (`Config(retries=…)`) before an error arrives here. Error texts go into alerts and the audit log, so
only the first line of an error is kept: below it stand the signed request with its session token, the body of an
unreadable answer, and parameter values; a URL may be a signed one.

botocore takes 19.7 ms to parse a page of 100 findings that msgspec reads in 2.1 ms. `take_bodies` therefore takes the
body before botocore parses it (`before-parse.<service>.<operation>`: undocumented, so used only here, and tested; where
botocore does not offer it, the parsed answer is read).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from chalicelib.domain.images.text import cut, without_secrets
from chalicelib.errors import (
    AbsentError,
    ConflictError,
    DeniedError,
    OversizedError,
    RefusedPayloadError,
    TransientError,
    UpstreamError,
)

T = TypeVar("T")
LONGEST = 500
_LOST = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError)
# KMS speaks through SQS and SNS in words of theirs, and with status 400.
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "KMS.ThrottlingException",
        "KMSThrottling",
        "KmsThrottled",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_UNKNOWN = "UnknownOperationException"
_CONFLICT = frozenset({"ConditionalCheckFailedException", "TransactionConflictException"})
_OVERSIZED = "exceeded the maximum allowed size"
"""DynamoDB has no code of its own for it."""
_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "KMS.AccessDeniedException",
        "KMSAccessDenied",
        "KmsAccessDenied",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)
_ABSENT = {
    "ImageNotFoundException": "image",
    "RepositoryNotFoundException": "repository",
    "ScanNotFoundException": "scan",
}
_REASON_CONFLICT = frozenset({"ConditionalCheckFailed", "TransactionConflict"})
_REASON_THROTTLED = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"})


@contextmanager
def aws_call(what: str) -> Iterator[None]:
    """Around one AWS call, or as a decorator of a function (not of a generator): `with aws_call("read the image"): …`.

    `what` starts the message. What was raised by AWS stays reachable as `__cause__`, its code by `code_of`.
    """
    try:
        yield
    except ClientError as error:
        raise _wrapped(what, error) from error
    except _LOST as error:
        raise TransientError(f"{what}: {_said(error)}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise DeniedError(f"{what}: {_said(error)}") from error
    except (BotoCoreError, ResponseParserError) as error:
        raise UpstreamError(f"{what}: {_said(error)}") from error


def asked(what: str, call: Callable[..., Any], /, **params: Any) -> Any:
    """The answer of one AWS call. Raises as `aws_call` does, and UpstreamError for an answer of another shape than its
    model's (a number for a list), over which botocore stumbles with Python's own errors."""
    with aws_call(what):
        try:
            return call(**params)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, BotoCoreError):  # some of its own are Python's as well
                raise
            text = f"{what}: an answer that cannot be read: {type(error).__name__}: {_said(error)}"
            raise UpstreamError(text) from error


def read_answer(what: str, read: Callable[[Any], T], call: Callable[..., Any], /, **params: Any) -> T:
    """What `read` makes of the answer of one call. Raises as `asked`, and UpstreamError where it refuses it."""
    answer = asked(what, call, **params)
    with readable(what):
        return read(body_of(answer))


class AnswerPage(Protocol):
    @property
    def next_token(self) -> str | None: ...


P = TypeVar("P", bound=AnswerPage)


def read_pages(
    what: str, read: Callable[[Any], P], call: Callable[..., Any], /, **params: Any
) -> Iterator[tuple[P, dict[str, Any]]]:
    """Each page that `read` makes, with its answer, as far as the caller goes on. Raises as `read_answer`, and
    UpstreamError after `PAGES` pages."""
    for _ in range(PAGES):
        answer: dict[str, Any] = asked(what, call, **params)
        with readable(what):
            page = read(body_of(answer))
        yield page, answer
        if not page.next_token:
            return
        params["nextToken"] = page.next_token
    raise UpstreamError(f"{what}: more than {PAGES} pages")


def unless(code: str | Collection[str], ask: Callable[[], T]) -> T | None:
    """What `ask` answers; None where AWS refuses by this error code, or one of these."""
    codes = (code,) if isinstance(code, str) else code
    try:
        return ask()
    except UpstreamError as error:
        if code_of(error) not in codes:
            raise
        return None


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """As many at once as one call takes."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def code_of(error: BaseException) -> str | None:
    """AWS's error code of a wrapped (or bare) error; None where AWS did not answer."""
    cause = error if isinstance(error, ClientError) else error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) or None if isinstance(cause, ClientError) else None


def _wrapped(what: str, error: ClientError) -> ConflictError | UpstreamError:
    code, text = code_of(error) or "", f"{what}: {_said(error)}"
    if code == "TransactionCanceledException":
        return _cancelled(text, error)
    if code in _CONFLICT:
        return ConflictError(text)
    if code in _DENIED:
        return DeniedError(text)
    if code in _ABSENT:
        return AbsentError(_ABSENT[code], text)
    if code == "ValidationException" and _OVERSIZED in text:
        return OversizedError(text)
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    if code in _THROTTLED or status >= 500 or status == 429:
        return TransientError(text, _retry_after(metadata.get("HTTPHeaders", {}).get("retry-after")))
    return DeniedError(text) if status in (401, 403) else UpstreamError(text)


def _said(error: Exception) -> str:
    """Its first line without secrets. All of it is reachable as `__cause__`."""
    text = _answer(error) if isinstance(error, ClientError) else str(error)
    return cut(without_secrets(text.partition("\n")[0]), LONGEST)


def _answer(error: ClientError) -> str:
    """What was answered to which call. What stands between us and AWS may answer with a page of its own."""
    code, message = code_of(error) or "no code", str(error.response.get("Error", {}).get("Message") or "").strip()
    if code == _UNKNOWN:
        return "not known there"
    words = "a web page, which is no answer of AWS" if message.startswith("<") else message or "no word of why"
    return f"{error.operation_name}: {words} ({code})"


def _cancelled(text: str, error: ClientError) -> ConflictError | UpstreamError:
    """A condition that failed outweighs a throttle beside it: trying the same again cannot help."""
    reasons = error.response.get("CancellationReasons", [])
    codes = {str(reason.get("Code")) for reason in reasons if isinstance(reason, dict)}
    if codes & _REASON_CONFLICT:
        return ConflictError(f"{text} ({', '.join(sorted(codes & _REASON_CONFLICT))})")
    return TransientError(text) if codes & _REASON_THROTTLED else UpstreamError(text)


def _retry_after(value: str | None) -> float | None:
    """Seconds only; a date is left to the caller's own back-off."""
    return float(value) if value is not None and value.isdigit() else None


BODY = "LazarettoBody"
PAGES = 1000
"""More than any list has: an answer that names the same next page for ever must end."""


def take_bodies(client: Any, operation: str) -> None:
    """From now on answers of `operation` (`inspector2.ListFindings`) come unparsed. A second time changes nothing."""
    client.meta.events.register(f"before-parse.{operation}", take_body, unique_id=f"{BODY}.{operation}")


def take_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """botocore's hook: leaves it `{}` to parse and hands the bytes on beside it; errors are left alone."""
    if response_dict["status_code"] < 300:
        customized_response_dict[BODY] = response_dict["body"]
        response_dict["body"] = b"{}"


def body_of(answer: Mapping[str, Any]) -> bytes | dict[str, Any]:
    """The bytes that were taken, or what botocore parsed where the hook did not fire."""
    return bytes(answer[BODY]) if BODY in answer else told(answer)


def told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What botocore parsed, without what it says of the call itself."""
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Around the reading of an answer: one that cannot be read is AWS's failure, not our caller's input."""
    try:
        yield
    except RefusedPayloadError as error:
        raise UpstreamError(f"{what}: an answer that cannot be read: {error}") from error


def answer_behind(error: UpstreamError) -> Mapping[str, Any]:
    """What AWS answered when it refused."""
    answer: Mapping[str, Any] = getattr(error.__cause__, "response", {})
    return answer


def answered_at(response: Mapping[str, Any]) -> datetime:
    """The `Date` header of a boto3 response (whole seconds, AWS's clock). Never the local clock: looks of several
    workers are compared with each other and with AWS's events. Raises UpstreamError where AWS gave none.
    """
    text = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        at = parsedate_to_datetime(text or "")
    except ValueError:
        raise UpstreamError(f"an answer without a date: {text!r:.80}") from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
