"""Every error Lazaretto raises on purpose. Nothing else lives here.

LazarettoError
├── InputError                      400  the caller's input is wrong; retrying is useless
│   ├── RefusedPayloadError         400  an AWS payload no reader accepts: JSON path and reason
│   ├── PolicyError                 400  a policy that must not load: file, line, reason, nearest name
│   ├── ParameterError              400  a parameter or a field of the body: its name and what is allowed
│   ├── TooLargeError               413  a body, or a repository, longer than one call reads
│   ├── MediaTypeError              415  a body of another type than JSON
│   ├── UnseenError                 428  an order that needs the ETag of the image as the caller saw it, and has none
│   └── UnauthorizedError           401  no token, or a wrong one, where a token is asked for
├── NotFoundError                   404  image, tag, repository or vulnerability unknown here
│   └── UnknownNameError            404  a registry, Region or repository that is none of ours: mistyped, most likely
├── ConflictError                   409  another writer was faster: read again
│   └── OutdatedError               412  the image is not as the caller saw it: who changed what
├── SettingsError                   500  environment variables missing or wrong, all of them at once
├── StoredPolicyError               500  the policy in force does not load any more: its number, why, and the remedy
└── UpstreamError                   502  AWS or a channel did not answer as needed
    ├── TransientError              503  throttled, timed out: try again later (`retry_after_seconds`)
    │   └── ContendedError          503  other writers of the same image were faster, as often as was tried
    ├── OversizedError              502  an item larger than DynamoDB takes
    ├── AbsentError                 502  AWS says the image, repository, scan or page does not exist
    └── DeniedError                 502  AWS says our role may not
"""

from __future__ import annotations


class LazarettoError(Exception):
    status = 500


class InputError(LazarettoError):
    status = 400


class RefusedPayloadError(InputError):
    """`path` is a JSON path such as `$.detail.image-digest`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class PolicyError(InputError):
    """`path` is the key inside the policy; `line` counts from 1 and is None when there is no text to point at."""

    def __init__(self, path: str, reason: str, line: int | None = None, file: str | None = None) -> None:
        where = ":".join(str(x) for x in (file, line) if x is not None)
        super().__init__(f"{where}: {path}: {reason}" if where else f"{path}: {reason}")
        self.path, self.reason, self.line, self.file = path, reason, line, file


class ParameterError(InputError):
    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}")
        self.parameter, self.reason = parameter, reason


class TooLargeError(InputError):
    status = 413


class MediaTypeError(InputError):
    status = 415


class UnseenError(InputError):
    status = 428


class UnauthorizedError(InputError):
    status = 401


class NotFoundError(LazarettoError):
    status = 404


class UnknownNameError(NotFoundError):
    """`parameter` names a registry, a Region or a repository; `hint` the one that is most like it, or it is empty."""

    def __init__(self, parameter: str, name: str, hint: str = "") -> None:
        what = {"region": "Region", "to": "Region", "to_registry": "registry"}.get(parameter, parameter)
        super().__init__(f"the {what} {name} is unknown here{hint}")
        self.parameter = parameter


class ConflictError(LazarettoError):
    status = 409


class OutdatedError(ConflictError):
    status = 412


class SettingsError(LazarettoError):
    """`problems` lists each variable and what is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StoredPolicyError(LazarettoError):
    """`version` was put when fewer mistakes were known, or by a newer Lazaretto; `reason` is the PolicyError's text."""

    def __init__(self, version: int, reason: str) -> None:
        super().__init__(
            f"policy {version}, which is in force, does not load any more ({reason}): lazaretto policy apply FILE"
        )
        self.version, self.reason = version, reason


class UpstreamError(LazarettoError):
    status = 502


class TransientError(UpstreamError):
    status = 503

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ContendedError(TransientError):
    pass


class OversizedError(UpstreamError):
    pass


class AbsentError(UpstreamError):
    """`what` is `image`, `repository`, `scan`, or `page`: a listing that AWS does not continue from there any more."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


class DeniedError(UpstreamError):
    pass
